//! Reading components from files: what is not a component should cost nothing.

use std::path::Path;

use anyhow::{Context as _, ensure};
use tokio::io::AsyncReadExt as _;

use toril_sandbox::LoadError;

/// Reads a component. Refuses a file that is too large before it reads any of it, and whatever is not a regular file:
/// a device has no end, and a pipe may have no writer.
pub async fn read_component(file: &Path, bytes_max: usize) -> anyhow::Result<Vec<u8>> {
    read(file, bytes_max)
        .await
        .with_context(|| format!("failed to read component `{}`", file.display()))
}

async fn read(file: &Path, bytes_max: usize) -> anyhow::Result<Vec<u8>> {
    // A pipe without a writer would hold the thread that opens it.
    let without_waiting = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let mut options = tokio::fs::OpenOptions::new();
    let file = options.read(true).custom_flags(without_waiting).open(file);
    let file = file.await?;
    let metadata = file.metadata().await?;
    ensure!(metadata.is_file(), "it is not a regular file");
    let bytes = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
    check_size(bytes, bytes_max)?;
    let mut component = Vec::with_capacity(bytes);
    // It may grow while it is read.
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX);
    file.take(limit.saturating_add(1))
        .read_to_end(&mut component)
        .await?;
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
