//! What the host holds for a guest outside its memories: header fields, requests, what waits in streams, names in
//! directories, values of stores. It counts like memory of the guest's own.
//!
//! Takes the place of the calls of wasmtime's that make the host hold more. Each says how much more at most; what is
//! held indeed is added up only where that may be beyond what was counted before.

use std::any::Any;
use std::sync::Arc;

use http::HeaderMap;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, LinkerInstance, Resource};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemView as _};
use wasmtime_wasi::p2::bindings::filesystem::types::{ErrorCode, Host as _, HostDescriptor as _};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, FsResult, ReaddirIterator};
use wasmtime_wasi_http::p2::HeaderResult;
use wasmtime_wasi_http::p2::bindings::http::types::{
    HeaderError, Host as _, HostFields as _, HostOutgoingRequest as _, Method, Scheme,
};
use wasmtime_wasi_http::p2::body::HostOutgoingBody;
use wasmtime_wasi_http::p2::types::{
    HostFutureIncomingResponse, HostIncomingResponse, HostOutgoingRequest,
};
use wasmtime_wasi_http::{FieldMap, WasiHttpView as _};

use super::AttemptState;

/// The versions that wasmtime-wasi 48 serves; guests of older ones are linked to them, too.
const HTTP: &str = "wasi:http/types@0.2.12";
const FILES: &str = "wasi:filesystem/types@0.2.12";

/// What one write to the body of a request may have. Three of them may wait in a body.
pub(super) const BODY_CHUNK_BYTES: usize = 16 << 10;
/// What a stream or a body may hold of what was not read yet, or not written.
const STREAM_BYTES: usize = 64 << 10;
/// What the host keeps about one header.
const HEADER_BYTES: usize = 128;
/// The names of a directory and what is kept with them, by a byte of the directory.
const BYTES_PER_DIR_BYTE: u64 = 8;

type Store<'a> = StoreContextMut<'a, AttemptState>;
type Fields = Resource<FieldMap>;
type Request = Resource<HostOutgoingRequest>;
type File = Resource<Descriptor>;
type Fallible<T, E> = wasmtime::Result<(Result<T, E>,)>;

pub(super) fn add_to_linker(linker: &mut Linker<AttemptState>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut http = linker.instance(HTTP)?;
    fields(&mut http)?;
    requests(&mut http)?;
    streams(&mut linker.instance(FILES)?)?;
    linker.allow_shadowing(false);
    Ok(())
}

fn fields(http: &mut LinkerInstance<'_, AttemptState>) -> wasmtime::Result<()> {
    type Entries = Vec<(String, Vec<u8>)>;
    http.func_wrap_async(
        "[static]fields.from-list",
        |mut store: Store<'_>, (entries,): (Entries,)| {
            Box::new(async move {
                let sizes = entries
                    .iter()
                    .map(|(name, value)| header(name.len(), value.len()));
                let state = store.data_mut();
                state.hold(sizes.sum()).await?;
                let made = state.http().from_list(entries);
                state.told(made)
            })
        },
    )?;
    http.func_wrap_async(
        "[method]fields.append",
        |mut store: Store<'_>, (of, name, value): (Fields, String, Vec<u8>)| {
            Box::new(async move {
                let state = store.data_mut();
                state.hold(header(name.len(), value.len())).await?;
                let appended = state.http().append(of, name, value);
                state.told(appended)
            })
        },
    )?;
    http.func_wrap_async(
        "[method]fields.set",
        |mut store: Store<'_>, (of, name, values): (Fields, String, Vec<Vec<u8>>)| {
            Box::new(async move {
                let sizes = values.iter().map(|value| header(name.len(), value.len()));
                let state = store.data_mut();
                state.hold(sizes.sum()).await?;
                let set = state.http().set(of, name, values);
                state.told(set)
            })
        },
    )?;
    http.func_wrap_async(
        "[method]fields.clone",
        |mut store: Store<'_>, (of,): (Fields,)| {
            Box::new(async move {
                let state = store.data_mut();
                let bytes = headers(state.table.get(&of)?);
                state.hold(bytes).await?;
                Ok((state.http().clone(of)?,))
            })
        },
    )
}

fn requests(http: &mut LinkerInstance<'_, AttemptState>) -> wasmtime::Result<()> {
    type Text = Option<String>;
    let text = |text: &Text| text.as_ref().map_or(0, String::len);
    http.func_wrap_async(
        "[method]outgoing-request.set-path-with-query",
        move |mut store: Store<'_>, (request, path): (Request, Text)| {
            Box::new(async move {
                let state = store.data_mut();
                state.hold(text(&path)).await?;
                Ok((state.http().set_path_with_query(request, path)?,))
            })
        },
    )?;
    http.func_wrap_async(
        "[method]outgoing-request.set-authority",
        move |mut store: Store<'_>, (request, authority): (Request, Text)| {
            Box::new(async move {
                let state = store.data_mut();
                state.hold(text(&authority)).await?;
                Ok((state.http().set_authority(request, authority)?,))
            })
        },
    )?;
    http.func_wrap_async(
        "[method]outgoing-request.set-method",
        |mut store: Store<'_>, (request, method): (Request, Method)| {
            Box::new(async move {
                let state = store.data_mut();
                state.hold(method_bytes(&method)).await?;
                Ok((state.http().set_method(request, method)?,))
            })
        },
    )?;
    http.func_wrap_async(
        "[method]outgoing-request.set-scheme",
        |mut store: Store<'_>, (request, scheme): (Request, Option<Scheme>)| {
            Box::new(async move {
                let state = store.data_mut();
                state.hold(scheme_bytes(scheme.as_ref())).await?;
                Ok((state.http().set_scheme(request, scheme)?,))
            })
        },
    )?;
    http.func_wrap_async(
        "[method]outgoing-request.body",
        |mut store: Store<'_>, (request,): (Request,)| {
            Box::new(async move {
                let state = store.data_mut();
                state.hold(STREAM_BYTES).await?;
                Ok((state.http().body(request)?,))
            })
        },
    )
}

fn streams(files: &mut LinkerInstance<'_, AttemptState>) -> wasmtime::Result<()> {
    files.func_wrap_async(
        "[method]descriptor.read-via-stream",
        |mut store: Store<'_>, (file, offset): (File, u64)| {
            Box::new(async move {
                let state = store.data_mut();
                state.hold(STREAM_BYTES).await?;
                let stream = state.filesystem().read_via_stream(file, offset);
                state.opened(stream)
            })
        },
    )?;
    files.func_wrap_async(
        "[method]descriptor.write-via-stream",
        |mut store: Store<'_>, (file, offset): (File, u64)| {
            Box::new(async move {
                let state = store.data_mut();
                state.hold(STREAM_BYTES).await?;
                let stream = state.filesystem().write_via_stream(file, offset);
                state.opened(stream)
            })
        },
    )?;
    files.func_wrap_async(
        "[method]descriptor.append-via-stream",
        |mut store: Store<'_>, (file,): (File,)| {
            Box::new(async move {
                let state = store.data_mut();
                state.hold(STREAM_BYTES).await?;
                let stream = state.filesystem().append_via_stream(file);
                state.opened(stream)
            })
        },
    )?;
    files.func_wrap_async(
        "[method]descriptor.read-directory",
        |mut store: Store<'_>, (dir,): (File,)| {
            Box::new(async move {
                let state = store.data_mut();
                let bytes = match state.table.get(&dir)? {
                    Descriptor::Dir(dir) => {
                        let dir = Arc::clone(&dir.dir);
                        tokio::task::spawn_blocking(move || names_bytes(&dir)).await?
                    }
                    Descriptor::File(_) => 0,
                };
                state.held.largest_dir = state.held.largest_dir.max(bytes);
                state.hold(bytes).await?;
                let names = state.filesystem().read_directory(dir).await;
                state.opened(names)
            })
        },
    )
}

/// What is known of it without adding it up.
#[derive(Default)]
pub(super) struct Held {
    at_most: usize,
    /// What the names of the largest directory take that was read.
    largest_dir: usize,
}

impl AttemptState {
    /// Counts what a call makes the host hold, before it is held.
    pub(super) async fn hold(&mut self, bytes: usize) -> wasmtime::Result<()> {
        self.held.at_most = self.held.at_most.saturating_add(bytes);
        if self.held.at_most <= self.quota.outside_bytes() {
            return Ok(());
        }
        self.held.at_most = self.held_now().saturating_add(bytes);
        let counted = self.quota.hold_outside(self.held.at_most).await;
        counted.map_err(wasmtime::Error::new)
    }

    fn held_now(&mut self) -> usize {
        let largest_dir = self.held.largest_dir;
        let each = self.table.iter_mut();
        let by_handles: usize = each.map(|entry| bytes_of(entry, largest_dir)).sum();
        by_handles + self.cas_bytes_held
    }

    fn told<T>(&mut self, done: HeaderResult<T>) -> Fallible<T, HeaderError> {
        Ok((match done {
            Ok(done) => Ok(done),
            Err(error) => Err(self.http().convert_header_error(error)?),
        },))
    }

    fn opened<T>(&mut self, done: FsResult<T>) -> Fallible<T, ErrorCode> {
        Ok((match done {
            Ok(done) => Ok(done),
            Err(error) => Err(self.filesystem().convert_error_code(error)?),
        },))
    }
}

/// What the host holds for a handle, at most.
fn bytes_of(entry: &(dyn Any + Send), largest_dir: usize) -> usize {
    if let Some(fields) = entry.downcast_ref::<FieldMap>() {
        return headers(fields);
    }
    if let Some(request) = entry.downcast_ref::<HostOutgoingRequest>() {
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        return headers(&request.headers)
            + method_bytes(&request.method)
            + scheme_bytes(request.scheme.as_ref())
            + text(&request.authority)
            + text(&request.path_with_query)
            + request.body.as_ref().map_or(0, |_| STREAM_BYTES);
    }
    if let Some(response) = entry.downcast_ref::<HostIncomingResponse>() {
        return headers(&response.headers) + response.body.as_ref().map_or(0, |_| STREAM_BYTES);
    }
    if entry.is::<ReaddirIterator>() {
        return largest_dir;
    }
    let is_stream = entry.is::<DynInputStream>()
        || entry.is::<DynOutputStream>()
        || entry.is::<HostOutgoingBody>()
        || entry.is::<HostFutureIncomingResponse>();
    if is_stream { STREAM_BYTES } else { 0 }
}

fn header(name: usize, value: usize) -> usize {
    name + value + HEADER_BYTES
}

fn headers(fields: &HeaderMap) -> usize {
    let each = fields.iter();
    each.map(|(name, value)| header(name.as_str().len(), value.len()))
        .sum()
}

fn method_bytes(method: &Method) -> usize {
    match method {
        Method::Other(name) => name.len(),
        _ => 0,
    }
}

fn scheme_bytes(scheme: Option<&Scheme>) -> usize {
    match scheme {
        Some(Scheme::Other(name)) => name.len(),
        _ => 0,
    }
}

/// What the names in a directory take, judged by its size: it is asked before they are read.
fn names_bytes(dir: &std::fs::File) -> usize {
    let bytes = dir.metadata().map_or(0, |dir| dir.len());
    usize::try_from(bytes.saturating_mul(BYTES_PER_DIR_BYTE)).unwrap_or(usize::MAX)
}
