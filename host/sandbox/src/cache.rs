//! Compiled code on disk, by the component's digest and what it was compiled for.
//!
//! Compiled code runs with the host's policy: only a directory that nobody else can write is trusted,
//! and each file carries a digest of itself, so that a truncated one is compiled anew.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

const DIGEST_BYTES: usize = 32;

pub(crate) struct Cache {
    dir: PathBuf,
    compiled_for: String,
}

impl Cache {
    /// Opens the directory, or says why it cannot be trusted and goes on without.
    pub(crate) fn open(dir: &Path, engine: &Engine) -> Option<Self> {
        if let Err(reason) = private_dir(dir) {
            tracing::warn!(dir = %dir.display(), %reason, "compiled code is not cached");
            return None;
        }
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Some(Cache {
            dir: dir.to_owned(),
            compiled_for: format!("{:016x}", hasher.finish()),
        })
    }

    pub(crate) fn get(&self, engine: &Engine, digest: &str) -> Option<Component> {
        let file = std::fs::read(self.path(digest)).ok()?;
        let (expected, code) = file.split_at_checked(DIGEST_BYTES)?;
        if Sha256::digest(code).as_slice() != expected {
            tracing::warn!(%digest, "cached code is damaged and is compiled anew");
            return None;
        }
        #[allow(
            unsafe_code,
            reason = "the code is ours: the directory admits no other writer and the digest fits; \
                      wasmtime itself refuses code of another version or configuration"
        )]
        let component = unsafe { Component::deserialize(engine, code) };
        component
            .inspect_err(|error| tracing::warn!(%digest, %error, "cached code is compiled anew"))
            .ok()
    }

    pub(crate) fn put(&self, component: &Component, digest: &str) {
        if let Err(error) = self.write(component, digest) {
            tracing::warn!(%digest, %error, "compiled code could not be cached");
        }
    }

    fn write(&self, component: &Component, digest: &str) -> anyhow::Result<()> {
        let code = component.serialize().map_err(anyhow::Error::from)?;
        let mut file = Sha256::digest(&code).to_vec();
        file.extend_from_slice(&code);
        let path = self.path(digest);
        // Renamed into place: no reader sees half a file.
        let draft = path.with_extension(format!("{}.draft", std::process::id()));
        std::fs::write(&draft, file)?;
        Ok(std::fs::rename(&draft, &path)?)
    }

    fn path(&self, digest: &str) -> PathBuf {
        let digest = digest.trim_start_matches("sha256:");
        self.dir
            .join(format!("{digest}-{}.cwasm", self.compiled_for))
    }
}

/// Makes the directory with mode 0700, or checks that it is ours alone.
fn private_dir(dir: &Path) -> Result<(), String> {
    let describe = |error: std::io::Error| error.to_string();
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(describe)?;
    let directory = std::fs::symlink_metadata(dir).map_err(describe)?;
    // A file that this process makes belongs to whom this process runs as.
    let own = std::fs::metadata("/proc/self").map(|own| own.uid());
    if !directory.is_dir() {
        return Err("it is not a directory".into());
    }
    if own.is_ok_and(|own| own != directory.uid()) {
        return Err("it belongs to another user".into());
    }
    if directory.mode() & 0o022 != 0 {
        return Err("others may write to it; its mode must be 0700".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn directory_that_others_may_write_is_not_trusted() {
        let dir = std::env::temp_dir().join(format!("toril-cache-{}", std::process::id()));
        private_dir(&dir).unwrap();
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(private_dir(&dir).unwrap_err().contains("0700"));
        std::fs::remove_dir(&dir).unwrap();
    }
}
