//! Reading components from files: what is not a component should cost nothing.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};

use toril_sandbox::LoadError;
use toril_sandbox::regular_file::Opened;

/// How long a file system may take to answer. Many take none of it; one that is gone takes for ever.
const READ_TIME_MAX: Duration = Duration::from_secs(60);

/// Reads a component. Refuses a file that is too large before it reads any of it, and whatever is not a regular file.
pub async fn read_component(file: &Path, bytes_max: usize) -> anyhow::Result<Vec<u8>> {
    let path = file.to_owned();
    let reading = tokio::task::spawn_blocking(move || read(&path, bytes_max));
    let read = match tokio::time::timeout(READ_TIME_MAX, reading).await {
        Ok(read) => read?,
        Err(_) => bail!(
            "reading `{}` took more than {} s",
            file.display(),
            READ_TIME_MAX.as_secs()
        ),
    };
    read.with_context(|| format!("failed to read component `{}`", file.display()))
}

fn read(file: &Path, bytes_max: usize) -> anyhow::Result<Vec<u8>> {
    let opened = Opened::open(file)?;
    check_size(opened.bytes, bytes_max)?;
    let component = opened.read_beyond(bytes_max)?;
    check_size(component.len(), bytes_max)?;
    Ok(component)
}

fn check_size(bytes: usize, max: usize) -> Result<(), LoadError> {
    if bytes > max {
        return Err(LoadError::TooLarge { bytes, max });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_too_large_or_no_file_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let sparse = dir.path().join("sparse.wasm");
        let made = std::fs::File::create(&sparse).unwrap();
        made.set_len(1 << 42).unwrap();
        let pipe = dir.path().join("pipe.wasm");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        for (file, reason) in [
            (sparse.as_path(), "more than the limit of 1000"),
            (Path::new("/dev/zero"), "not a regular file"),
            (dir.path(), "not a regular file"),
            (pipe.as_path(), "not a regular file"),
            (&dir.path().join("missing"), "No such file"),
        ] {
            let error = format!("{:#}", read_component(file, 1000).await.unwrap_err());
            assert!(error.contains(reason), "{error}");
        }
        std::fs::write(&sparse, "abc").unwrap();
        assert_eq!(read_component(&sparse, 3).await.unwrap(), b"abc");
    }
}
