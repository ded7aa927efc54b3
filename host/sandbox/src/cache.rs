//! Compiled code on disk, by a digest and what it was compiled for.
//!
//! Compiled code runs with the host's policy: only a directory that nobody else can write is trusted,
//! and each file carries a digest of itself, so that a truncated one is compiled again.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::digest::Digest;

/// What is kept, by how the names of its files end.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kept {
    /// The code of a component.
    Component,
    /// The functions of all components with the same code.
    Functions,
}

impl Kept {
    fn extension(self) -> &'static str {
        match self {
            Kept::Component => "cwasm",
            Kept::Functions => "functions",
        }
    }
}

/// Ends the names of files that are being written.
const DRAFT: &str = "draft";
const DIGEST_BYTES: usize = 32;
/// How much is kept. What was used least recently goes first.
const BYTES_MAX: u64 = 1 << 30;

/// A directory of compiled code.
pub struct Cache {
    dir: PathBuf,
    compiled_for: String,
}

impl Cache {
    /// Opens the directory, or says why it cannot be trusted and goes on without.
    pub fn open(dir: &Path, engine: &Engine) -> Option<Self> {
        if let Err(reason) = check_cache_dir(dir) {
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

    /// The compiled code of a component, if it is there and whole.
    pub fn component(&self, engine: &Engine, digest: &Digest) -> Option<Component> {
        let code = self.read(Kept::Component, digest)?;
        deserialize(engine, &code)
            .inspect_err(|error| tracing::warn!(%digest, %error, "cached code is compiled again"))
            .ok()
    }

    /// Keeps the compiled code of a component. One that cannot be kept is compiled each time.
    pub fn keep(&self, component: &Component, digest: &Digest) {
        match component.serialize() {
            Ok(code) => self.write(Kept::Component, digest, &code),
            Err(error) => tracing::warn!(%digest, %error, "compiled code could not be cached"),
        }
    }

    /// What is kept under a digest, if it is whole.
    pub(crate) fn read(&self, kept: Kept, digest: &Digest) -> Option<Vec<u8>> {
        let path = self.path(kept, digest);
        let mut file = std::fs::read(&path).ok()?;
        note_use(&path);
        let (expected, content) = file.split_at_checked(DIGEST_BYTES)?;
        if Sha256::digest(content).as_slice() != expected {
            tracing::warn!(file = %path.display(), "cached code is damaged and is compiled again");
            return None;
        }
        file.drain(..DIGEST_BYTES);
        Some(file)
    }

    /// Keeps something, and removes what was used least recently; or says why it cannot.
    pub(crate) fn write(&self, kept: Kept, digest: &Digest, bytes: &[u8]) {
        let path = self.path(kept, digest);
        if let Err(error) = write_whole(&path, bytes) {
            tracing::warn!(file = %path.display(), %error, "compiled code could not be cached");
        }
        if let Err(error) = evict(&self.dir, BYTES_MAX) {
            tracing::warn!(dir = %self.dir.display(), %error, "unused compiled code could not be removed");
        }
    }

    fn path(&self, kept: Kept, digest: &Digest) -> PathBuf {
        let digest = digest.trim_start_matches("sha256:");
        let extension = kept.extension();
        self.dir
            .join(format!("{digest}-{}.{extension}", self.compiled_for))
    }
}

/// Reads code that this host compiled.
pub(crate) fn deserialize(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    #[allow(
        unsafe_code,
        reason = "the code is ours: it was compiled just now, or the directory admits no other writer and the digest \
                  fits; wasmtime itself refuses code of another version or configuration"
    )]
    unsafe {
        Component::deserialize(engine, code)
    }
}

/// Writes a file and renames it into place: no reader sees half of it. If that fails, on a full disk say, nothing is left.
fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let draft = path.with_extension(format!("{}.{DRAFT}", std::process::id()));
    let written = write_parts(&draft, [&Sha256::digest(bytes), bytes])
        .and_then(|()| std::fs::rename(&draft, path));
    if written.is_err() {
        // The reason that is told is the first one.
        let _ = std::fs::remove_file(&draft);
    }
    written
}

fn write_parts(path: &Path, parts: [&[u8]; 2]) -> std::io::Result<()> {
    let mut file = std::fs::File::create(path)?;
    parts.into_iter().try_for_each(|part| file.write_all(part))
}

/// The time of a file's last change tells when it was used.
fn note_use(path: &Path) {
    let file = std::fs::File::options().append(true).open(path);
    // Without it the file goes earlier than it might.
    let _ = file.and_then(|file| file.set_modified(SystemTime::now()));
}

/// Removes what was used least recently, until no more than `bytes_max` are left; the newest file stays.
fn evict(dir: &Path, bytes_max: u64) -> std::io::Result<()> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let ours = [
            Kept::Component.extension(),
            Kept::Functions.extension(),
            DRAFT,
        ];
        let ours = path
            .extension()
            .is_some_and(|name| ours.iter().any(|ours| name == *ours));
        // Another host may have removed it meanwhile.
        if let (true, Ok(metadata)) = (ours, std::fs::symlink_metadata(&path)) {
            files.push((metadata.modified()?, metadata.len(), path));
        }
    }
    files.sort();
    let newest = files.pop();
    let mut kept = newest.map_or(0, |(_, bytes, _)| bytes);
    for (_, bytes, path) in files.into_iter().rev() {
        kept = kept.saturating_add(bytes);
        if kept > bytes_max {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Makes the directory with mode 0700, or checks that it is ours alone: only then is compiled code kept there.
pub fn check_cache_dir(dir: &Path) -> Result<(), String> {
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
    use std::time::Duration;

    #[test]
    fn directory_that_others_may_write_is_not_trusted() {
        let dir = std::env::temp_dir().join(format!("toril-cache-{}", std::process::id()));
        check_cache_dir(&dir).unwrap();
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(check_cache_dir(&dir).unwrap_err().contains("0700"));
        std::fs::remove_dir(&dir).unwrap();
    }

    #[test]
    fn code_that_cannot_be_stored_leaves_no_draft() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("code.cwasm");
        // No file can take the place of a directory.
        std::fs::create_dir(&path).unwrap();
        write_whole(&path, b"code").unwrap_err();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn code_that_was_not_used_for_the_longest_time_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let names = [
            "old.cwasm",
            "abandoned.1.draft",
            "used.functions",
            "new.cwasm",
        ];
        for (at, name) in names.into_iter().enumerate() {
            std::fs::write(path(name), [0; 10]).unwrap();
            let file = std::fs::File::options().append(true).open(path(name));
            let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(at as u64);
            file.unwrap().set_modified(modified).unwrap();
        }
        std::fs::write(path("notes.txt"), [0; 100]).unwrap();
        note_use(&path("old.cwasm"));
        evict(dir.path(), 25).unwrap();
        let is_kept = |name: &&str| path(name).exists();
        let kept: Vec<&str> = names.into_iter().filter(is_kept).collect();
        assert_eq!(kept, ["old.cwasm", "new.cwasm"]);
        assert!(path("notes.txt").exists(), "what is not ours stays");
        evict(dir.path(), 0).unwrap();
        assert!(path("old.cwasm").exists(), "the newest stays");
        assert!(!path("new.cwasm").exists());
    }
}
