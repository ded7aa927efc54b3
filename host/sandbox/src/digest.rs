//! The name of a component.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

/// The digest of a component: `sha256:` and 64 hexadecimal digits. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(Arc<str>);

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let hex: String = Sha256::digest(bytes)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Digest(format!("sha256:{hex}").into())
    }

    /// As much of it as tells versions apart: the first twelve digits.
    pub fn short(&self) -> &str {
        short_digest(&self.0)
    }

    /// Its digits.
    pub(crate) fn hex(&self) -> &str {
        self.0.trim_start_matches("sha256:")
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// As much of a digest's text as tells versions apart.
pub fn short_digest(digest: &str) -> &str {
    let hex = digest.trim_start_matches("sha256:");
    hex.get(..12).unwrap_or(hex)
}

/// Why a text is no digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a digest: `sha256:` and 64 lower-case hexadecimal digits")]
pub struct InvalidDigest(String);

impl std::str::FromStr for Digest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        match text.strip_prefix("sha256:") {
            Some(hex) if hex.len() == 64 && hex.bytes().all(is_hex) => Ok(Digest(text.into())),
            _ => Err(InvalidDigest(text.to_owned())),
        }
    }
}

impl From<Digest> for Arc<str> {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

impl std::ops::Deref for Digest {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_digests_are_parsed() {
        let digest = Digest::of(b"");
        assert!(digest.starts_with("sha256:e3b0c44298fc1c14"));
        assert_eq!(digest.as_str().parse(), Ok(digest.clone()));
        for text in ["", "sha256:", &digest[..70], &digest.to_uppercase()] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }
}
