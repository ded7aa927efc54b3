//! Recordings as they are stored: JSON, compressed.

use std::io::Read as _;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Bytes, FORMAT, Recording};

/// How hard to compress: recordings are written while a worker waits.
const LEVEL: i32 = 3;
/// The largest recording that is read, uncompressed. What is written is smaller: see `Record::check`.
const BYTES_MAX: u64 = 32 << 20;

/// Why a recording cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// It is not a recording.
    #[error("it is not a recording of Toril: {0}")]
    NoRecording(String),
    /// It is larger than any that is written.
    #[error("it has more than {BYTES_MAX} bytes")]
    TooLarge,
    /// It is newer, or older.
    #[error("its format is {0}, and this host reads format {FORMAT}")]
    Format(u32),
}

impl Recording {
    /// As it is stored.
    pub fn encode(&self) -> std::io::Result<Vec<u8>> {
        let json = serde_json::to_vec(self)?;
        zstd::encode_all(&*json, LEVEL)
    }

    /// Reads what was stored.
    pub fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        let no_recording =
            |error: &dyn std::fmt::Display| Unreadable::NoRecording(error.to_string());
        let decoder = zstd::Decoder::new(bytes).map_err(|error| no_recording(&error))?;
        let mut json = Vec::new();
        let read = decoder.take(BYTES_MAX + 1).read_to_end(&mut json);
        read.map_err(|error| no_recording(&error))?;
        if json.len() as u64 > BYTES_MAX {
            return Err(Unreadable::TooLarge);
        }
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let version: Version =
            serde_json::from_slice(&json).map_err(|error| no_recording(&error))?;
        if version.format != FORMAT {
            return Err(Unreadable::Format(version.format));
        }
        serde_json::from_slice(&json).map_err(|error| no_recording(&error))
    }
}

/// Bytes that may be missing.
pub(crate) mod optional_bytes {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Bytes;

    pub(crate) fn serialize<S: Serializer>(
        bytes: &Option<Vec<u8>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        bytes.clone().map(Bytes).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Vec<u8>>, D::Error> {
        let bytes = Option::<Bytes>::deserialize(deserializer)?;
        Ok(bytes.map(|Bytes(bytes)| bytes))
    }
}

/// Texts that are shared in memory.
pub(super) mod shared_text {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(in super::super) fn serialize<S: Serializer>(
        text: &Arc<str>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(text)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Arc<str>, D::Error> {
        String::deserialize(deserializer).map(Arc::from)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum StoredBytes<'a> {
    #[serde(borrow)]
    Text(std::borrow::Cow<'a, str>),
    /// One character for each byte: what is text among them can be found in it.
    Latin1 { latin1: String },
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => StoredBytes::Text(text.into()),
            Err(_) => StoredBytes::Latin1 {
                latin1: self.0.iter().map(|byte| char::from(*byte)).collect(),
            },
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let latin1 = match StoredBytes::deserialize(deserializer)? {
            StoredBytes::Text(text) => return Ok(Bytes(text.into_owned().into_bytes())),
            StoredBytes::Latin1 { latin1 } => latin1,
        };
        let bytes = latin1.chars().map(|char| u8::try_from(u32::from(char)));
        let bytes = bytes.collect::<Result<_, _>>();
        bytes.map(Bytes).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_as_they_were_written() {
        let large = zstd::encode_all(&vec![b' '; BYTES_MAX as usize + 1][..], 1).unwrap();
        assert!(matches!(
            Recording::decode(&large),
            Err(Unreadable::TooLarge)
        ));
        for bytes in [&b"text"[..], b"", &[0xff, 0x00]] {
            let bytes = Bytes(bytes.to_vec());
            let json = serde_json::to_string(&bytes).unwrap();
            assert_eq!(serde_json::from_str::<Bytes>(&json).unwrap(), bytes);
        }
        assert!(serde_json::from_str::<Bytes>("{\"latin1\":\"\u{100}\"}").is_err());
    }

    #[test]
    fn what_is_no_recording_is_refused() {
        let other = zstd::encode_all(&br#"{"format":2}"#[..], 1).unwrap();
        assert!(matches!(
            Recording::decode(&other),
            Err(Unreadable::Format(2))
        ));
        for bytes in [&b"nope"[..], b"", &zstd::encode_all(&b"{}"[..], 1).unwrap()] {
            assert!(matches!(
                Recording::decode(bytes),
                Err(Unreadable::NoRecording(_))
            ));
        }
    }
}
