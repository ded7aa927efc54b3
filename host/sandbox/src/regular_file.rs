//! Reading the files that an operator or a command names: whatever stands in their place, reading them ends.
//!
//! The only reader of such files. It opens without waiting, takes regular files alone, and reads no more than a limit: a
//! pipe may have no writer, and a device has no end. A file system that does not answer blocks it all the same, so that a
//! host reads beside its main task.

use std::fs::File;
use std::io::{Error, ErrorKind, Read as _, Result};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// The size of a config, a secret or a certificate, in bytes: far more than any has.
pub const SMALL_BYTES_MAX: usize = 1 << 20;
/// The size of a file of jobs or of their recordings, in bytes.
pub const LARGE_BYTES_MAX: usize = 256 << 20;

/// A file that was opened to be read.
pub struct Opened {
    file: File,
    /// Its size, in bytes. It may grow while it is read.
    pub bytes: usize,
}

impl Opened {
    /// Opens a regular file without waiting.
    pub fn open(path: &Path) -> Result<Self> {
        // A pipe without a writer would hold the thread that opens it.
        let without_waiting = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        let mut options = File::options();
        let file = options
            .read(true)
            .custom_flags(without_waiting)
            .open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "it is not a regular file",
            ));
        }
        let bytes = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
        Ok(Opened { file, bytes })
    }

    /// Reads at most one byte more than the limit, which tells that there are more.
    pub fn read_beyond(self, bytes_max: usize) -> Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(self.bytes.min(bytes_max));
        let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX);
        self.file
            .take(limit.saturating_add(1))
            .read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// Reads a file of so many bytes at most.
pub fn read(path: &Path, bytes_max: usize) -> Result<Vec<u8>> {
    let too_large = || {
        let problem = format!("it has more than {bytes_max} bytes");
        Error::new(ErrorKind::FileTooLarge, problem)
    };
    let opened = Opened::open(path)?;
    if opened.bytes > bytes_max {
        return Err(too_large());
    }
    let bytes = opened.read_beyond(bytes_max)?;
    if bytes.len() > bytes_max {
        return Err(too_large());
    }
    Ok(bytes)
}

/// Reads a file of text of so many bytes at most.
pub fn read_text(path: &Path, bytes_max: usize) -> Result<String> {
    let text = String::from_utf8(read(path, bytes_max)?);
    text.map_err(|error| Error::new(ErrorKind::InvalidData, error.utf8_error()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_end_or_is_too_large_is_refused_without_waiting() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let pipe = std::process::Command::new("mkfifo")
            .arg(path("pipe"))
            .status();
        assert!(pipe.unwrap().success());
        let sparse = File::create(path("sparse")).unwrap();
        sparse.set_len(3 << 30).unwrap();
        for (file, reason) in [
            (path("pipe"), "it is not a regular file"),
            ("/dev/zero".into(), "it is not a regular file"),
            (path(""), "it is not a regular file"),
            (path("sparse"), "it has more than 3 bytes"),
            (path("missing"), "No such file"),
        ] {
            let error = read(&file, 3).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
        std::fs::write(path("text"), "abc").unwrap();
        assert_eq!(read_text(&path("text"), 3).unwrap(), "abc");
        std::fs::write(path("bytes"), b"\xff").unwrap();
        assert!(read_text(&path("bytes"), 3).is_err());
        // Files of the kernel have no size, and content.
        assert!(
            !read("/proc/self/stat".as_ref(), 1 << 16)
                .unwrap()
                .is_empty()
        );
    }
}
