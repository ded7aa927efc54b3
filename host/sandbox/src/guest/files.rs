//! `wasi:filesystem` as wasmtime serves it, but for one call: only what the policy admits is opened.
//!
//! What a path names can change between a look at it and its opening, so the file that was opened is looked at, too. It
//! is opened without blocking: a pipe without another end would hold the thread for ever.

use std::fs::File as StdFile;
use std::io;
use std::path::Path;
use std::sync::Arc;

use cap_primitives::fs::{self, OpenOptions, OpenOptionsExt as _};
use rustix::fs::OFlags;
use rustix::io::Errno;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::FsPerms;
use wasmtime_wasi::filesystem::{
    Descriptor, Dir, File, OpenMode, WasiFilesystemCtxView, WasiFilesystemView as _,
};
use wasmtime_wasi::p2::FsError;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    DescriptorFlags, ErrorCode, Host as _, HostDescriptor as _, OpenFlags, PathFlags,
};

use super::AttemptState;
use crate::policy::files;

/// The version that wasmtime-wasi 48 serves; guests of older ones are linked to it, too. A test opens a pipe.
const TYPES: &str = "wasi:filesystem/types@0.2.12";

type OpenAt = (
    Resource<Descriptor>,
    PathFlags,
    String,
    OpenFlags,
    DescriptorFlags,
);

/// Takes the place of wasmtime's `open-at`, which is in the linker already.
pub(super) fn add_to_linker(linker: &mut Linker<AttemptState>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    linker.instance(TYPES)?.func_wrap_async(
        "[method]descriptor.open-at",
        |mut store: StoreContextMut<'_, AttemptState>, call: OpenAt| {
            let state = store.data_mut();
            state.current.tape.cannot_hold("the use of a directory");
            Box::new(async move { Ok((open_at(store.data_mut(), call).await?,)) })
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

async fn open_at(
    state: &mut AttemptState,
    call: OpenAt,
) -> wasmtime::Result<Result<Resource<Descriptor>, ErrorCode>> {
    let max = state.policy.limits.open_files_max;
    if let Err(refused) = state.open_files.make_room(max) {
        state.note(|_| refused.text());
        return Ok(Err(ErrorCode::Quota));
    }
    let opened = open_in(state.filesystem(), call).await?;
    if let Ok(handle) = &opened {
        state.open_files.note(match state.table.get(handle)? {
            Descriptor::File(File { file, .. }) => file,
            Descriptor::Dir(Dir { dir, .. }) => dir,
        });
    }
    Ok(opened)
}

async fn open_in(
    mut files: WasiFilesystemCtxView<'_>,
    (dir, path_flags, path, open_flags, flags): OpenAt,
) -> wasmtime::Result<Result<Resource<Descriptor>, ErrorCode>> {
    let borrowed = Resource::new_borrow(dir.rep());
    // Opening a device can do something to it. What cannot be looked at cannot be opened either, and opening says why.
    if let Ok(stat) = files.stat_at(borrowed, path_flags, path.clone()).await
        && !files::may_be_opened(stat.type_)
    {
        return Ok(Err(ErrorCode::NotPermitted));
    }
    let (inside, perms) = match files.table.get(&dir)? {
        Descriptor::Dir(dir) => (Arc::clone(&dir.dir), dir.perms),
        Descriptor::File(_) => return Ok(Err(ErrorCode::NotDirectory)),
    };
    let request = match Request::new(perms, path_flags, open_flags, flags) {
        Ok(request) => request,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let mode = request.mode;
    let opened =
        tokio::task::spawn_blocking(move || request.open(&inside, Path::new(&path))).await?;
    let descriptor = match opened {
        Ok(Opened::Dir(dir)) => Descriptor::Dir(Dir::new(dir, perms, mode, false)),
        Ok(Opened::File(file)) => Descriptor::File(File::new(file, perms, mode, false)),
        Ok(Opened::NoDir) => return Ok(Err(ErrorCode::NotDirectory)),
        Ok(Opened::Other) => return Ok(Err(ErrorCode::NotPermitted)),
        Err(error) => return Ok(Err(files.convert_error_code(FsError::from(error))?)),
    };
    Ok(Ok(files.table.push(descriptor)?))
}

/// How something is to be opened.
struct Request {
    options: OpenOptions,
    mode: OpenMode,
    must_be_dir: bool,
}

/// What was opened.
enum Opened {
    Dir(StdFile),
    File(StdFile),
    /// Not the directory that was asked for.
    NoDir,
    /// Nothing that may be opened.
    Other,
}

impl Request {
    /// Refuses what WASI has no meaning for, and what the grant does not allow.
    fn new(
        perms: FsPerms,
        path_flags: PathFlags,
        open_flags: OpenFlags,
        flags: DescriptorFlags,
    ) -> Result<Self, ErrorCode> {
        let [create, exclusive, truncate, must_be_dir] = [
            OpenFlags::CREATE,
            OpenFlags::EXCLUSIVE,
            OpenFlags::TRUNCATE,
            OpenFlags::DIRECTORY,
        ]
        .map(|flag| open_flags.contains(flag));
        let synchronous = DescriptorFlags::FILE_INTEGRITY_SYNC
            | DescriptorFlags::DATA_INTEGRITY_SYNC
            | DescriptorFlags::REQUESTED_WRITE_SYNC;
        if flags.intersects(synchronous) {
            return Err(ErrorCode::Unsupported);
        }
        if must_be_dir && (create || exclusive || truncate) {
            return Err(ErrorCode::Invalid);
        }
        let asks_to_write = flags.contains(DescriptorFlags::WRITE);
        let write = asks_to_write || create || truncate;
        if write && perms.write_not_permitted() {
            return Err(ErrorCode::NotPermitted);
        }
        // Something must be asked of the system; what is done with the file is checked again.
        let read = flags.contains(DescriptorFlags::READ) || !asks_to_write;
        let mut system = OFlags::NONBLOCK;
        let follow = path_flags.contains(PathFlags::SYMLINK_FOLLOW);
        system.set(OFlags::NOFOLLOW, !follow);
        let mut options = OpenOptions::new();
        options
            .read(read)
            .write(write)
            .create(create && !exclusive)
            .create_new(create && exclusive)
            .truncate(truncate)
            .custom_flags(system.bits().cast_signed());
        let mut mode = OpenMode::empty();
        mode.set(OpenMode::READ, read);
        mode.set(OpenMode::WRITE, write);
        Ok(Request {
            options,
            mode,
            must_be_dir,
        })
    }

    /// Opens what a path below a directory names now.
    fn open(&self, dir: &StdFile, path: &Path) -> io::Result<Opened> {
        let file = match fs::open(dir, path, &self.options) {
            // A socket, or a pipe that nobody reads.
            Err(error) if error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) => {
                return Ok(Opened::Other);
            }
            opened => opened?,
        };
        let kind = file.metadata()?.file_type();
        Ok(match () {
            () if kind.is_dir() => Opened::Dir(file),
            () if self.must_be_dir => Opened::NoDir,
            () if kind.is_file() => Opened::File(file),
            () => Opened::Other,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(open_flags: OpenFlags, flags: DescriptorFlags) -> Request {
        Request::new(
            FsPerms::ReadWrite,
            PathFlags::SYMLINK_FOLLOW,
            open_flags,
            flags,
        )
        .ok()
        .unwrap()
    }

    /// As if it had been swapped in after the look.
    #[test]
    fn pipe_that_is_opened_all_the_same_holds_no_thread_and_is_closed() {
        let dir = tempfile::tempdir().unwrap();
        let made = std::process::Command::new("mkfifo")
            .arg(dir.path().join("pipe"))
            .status();
        assert!(made.unwrap().success());
        let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
        std::os::unix::fs::symlink("pipe", dir.path().join("link")).unwrap();
        let open = StdFile::open(dir.path()).unwrap();
        for flags in [
            DescriptorFlags::READ,
            DescriptorFlags::WRITE,
            DescriptorFlags::READ | DescriptorFlags::WRITE,
        ] {
            for path in ["pipe", "link", "socket"] {
                let request = request(OpenFlags::empty(), flags);
                let opened = request.open(&open, Path::new(path)).unwrap();
                assert!(matches!(opened, Opened::Other), "{path} {flags:?}");
            }
        }
    }

    #[test]
    fn files_and_directories_are_opened_as_asked() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), "hello").unwrap();
        let open = StdFile::open(dir.path()).unwrap();
        let opened = |open_flags, path: &str| {
            request(open_flags, DescriptorFlags::READ).open(&open, Path::new(path))
        };
        assert!(matches!(
            opened(OpenFlags::empty(), "file"),
            Ok(Opened::File(_))
        ));
        assert!(matches!(
            opened(OpenFlags::DIRECTORY, "file"),
            Ok(Opened::NoDir)
        ));
        assert!(matches!(
            opened(OpenFlags::DIRECTORY, "."),
            Ok(Opened::Dir(_))
        ));
        assert!(opened(OpenFlags::empty(), "missing").is_err());
        assert!(
            opened(OpenFlags::empty(), "../file").is_err(),
            "it leads out"
        );
        let exclusive = OpenFlags::CREATE | OpenFlags::EXCLUSIVE;
        assert!(matches!(opened(exclusive, "new"), Ok(Opened::File(_))));
        assert!(opened(exclusive, "new").is_err(), "it is there");
        assert!(matches!(
            opened(OpenFlags::TRUNCATE, "file"),
            Ok(Opened::File(_))
        ));
        assert_eq!(std::fs::read(dir.path().join("file")).unwrap(), b"");
    }

    #[test]
    fn what_a_grant_does_not_allow_is_not_asked_of_the_system() {
        let refusal = |perms, open_flags, flags| {
            let request = Request::new(perms, PathFlags::empty(), open_flags, flags);
            request.err().map(|refusal| refusal.name())
        };
        let (read, write) = (DescriptorFlags::READ, DescriptorFlags::WRITE);
        for (open_flags, flags) in [
            (OpenFlags::empty(), write),
            (OpenFlags::CREATE, read),
            (OpenFlags::TRUNCATE, read),
        ] {
            let refused = refusal(FsPerms::ReadOnly, open_flags, flags);
            assert_eq!(refused, Some("not-permitted"));
            assert_eq!(refusal(FsPerms::ReadWrite, open_flags, flags), None);
        }
        assert_eq!(refusal(FsPerms::ReadOnly, OpenFlags::empty(), read), None);
        let both = OpenFlags::DIRECTORY | OpenFlags::CREATE;
        assert_eq!(refusal(FsPerms::ReadWrite, both, read), Some("invalid"));
        let synchronous = read | DescriptorFlags::DATA_INTEGRITY_SYNC;
        let refused = refusal(FsPerms::ReadWrite, OpenFlags::empty(), synchronous);
        assert_eq!(refused, Some("unsupported"));
    }
}
