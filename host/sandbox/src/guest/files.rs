//! `wasi:filesystem` as wasmtime serves it, but for one call: only what the policy admits is opened.

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::filesystem::{WasiFilesystemCtxView, WasiFilesystemView as _};
use wasmtime_wasi::p2::bindings::filesystem::types::{
    Descriptor, DescriptorFlags, ErrorCode, Host as _, HostDescriptor as _, OpenFlags, PathFlags,
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
            Box::new(async move { Ok((open_at(store.data_mut().filesystem(), call).await?,)) })
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

async fn open_at(
    mut files: WasiFilesystemCtxView<'_>,
    (dir, path_flags, path, open_flags, flags): OpenAt,
) -> wasmtime::Result<Result<Resource<Descriptor>, ErrorCode>> {
    let borrowed = Resource::new_borrow(dir.rep());
    // What cannot be looked at cannot be opened either, and opening says why.
    if let Ok(stat) = files.stat_at(borrowed, path_flags, path.clone()).await
        && !files::may_be_opened(stat.type_)
    {
        return Ok(Err(ErrorCode::NotPermitted));
    }
    match files
        .open_at(dir, path_flags, path, open_flags, flags)
        .await
    {
        Ok(opened) => Ok(Ok(opened)),
        Err(error) => Ok(Err(files.convert_error_code(error)?)),
    }
}
