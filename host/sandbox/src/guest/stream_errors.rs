//! What a guest learns of an error of a stream.

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi_http::Error;
use wasmtime_wasi_http::p2::bindings::http::types::IoError;

use super::AttemptState;
use crate::recording::error_code;

/// The versions that wasmtime-wasi 48 serves; guests of older ones are linked to them, too.
const ERRORS: &str = "wasi:io/error@0.2.12";
const HTTP: &str = "wasi:http/types@0.2.12";

type Store<'a> = StoreContextMut<'a, AttemptState>;
type One = (Resource<IoError>,);

/// Takes the place of wasmtime's functions, which are in the linker already.
pub(super) fn add_to_linker(linker: &mut Linker<AttemptState>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    // wasmtime's text has a backtrace of the host where `RUST_BACKTRACE` is set.
    linker.instance(ERRORS)?.func_wrap(
        "[method]error.to-debug-string",
        |mut store: Store<'_>, (error,): One| {
            let error = store.data_mut().table.get(&error)?;
            Ok((format!("{error:#}"),))
        },
    )?;
    // wasmtime looks for another type than that of the errors in bodies: no guest would learn why a response breaks off.
    linker.instance(HTTP)?.func_wrap(
        "http-error-code",
        |mut store: Store<'_>, (error,): One| {
            let error = store.data_mut().table.get(&error)?;
            Ok((error.downcast_ref::<Error>().map(error_code),))
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}
