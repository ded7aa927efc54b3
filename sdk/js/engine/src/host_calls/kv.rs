//! Key-value stores, `wasi:keyvalue`. A store is opened for each call: a handle of the host ends with the attempt, and opening
//! one asks nobody.

use rquickjs::{Array, ArrayBuffer, Ctx, Function, IntoJs, Object, Result, Value};

use super::{Calls, Text, coded};
use crate::bindings::toril::processor::current_job;
use crate::bindings::wasi::keyvalue::atomics::{self, Cas, CasError};
use crate::bindings::wasi::keyvalue::batch;
use crate::bindings::wasi::keyvalue::store::{self, Bucket, Error, KeyResponse};
use crate::raw;

pub(super) fn object<'js>(ctx: &Ctx<'js>) -> Result<Object<'js>> {
    let calls = Calls::new(ctx, "kv.")?;
    calls.add("get", |store: Text, key: Text| {
        let value = opened(&store).and_then(|bucket| bucket.get(&key.0));
        answer(store, value.map(|value| value.map(Bytes)))
    })?;
    calls.add("set", |store: Text, key: Text, value: ArrayBuffer<'js>| {
        let done = opened(&store).and_then(|bucket| bucket.set(&key.0, &bytes(&value)));
        answer(store, done)
    })?;
    calls.add("delete", |store: Text, key: Text| {
        let done = opened(&store).and_then(|bucket| bucket.delete(&key.0));
        answer(store, done)
    })?;
    calls.add("exists", |store: Text, key: Text| {
        let exists = opened(&store).and_then(|bucket| bucket.exists(&key.0));
        answer(store, exists)
    })?;
    calls.add("keys", |store: Text, cursor: Option<Text>| {
        let cursor = cursor.as_ref().map(|cursor| &*cursor.0);
        let page = opened(&store).and_then(|bucket| bucket.list_keys(cursor));
        answer(store, page.map(Page))
    })?;
    calls.add("increment", |store: Text, key: Text, delta: Text| {
        let delta = delta
            .0
            .parse()
            .map_err(|_| Error::Other(format!("`{}` is not an integer of 64 bits", delta.0)));
        let sum = delta.and_then(|delta| atomics::increment(&opened(&store)?, &key.0, delta));
        answer(store, sum.map(|sum| sum.to_string()))
    })?;
    calls.add("update", update)?;
    add_batches(&calls)?;
    Ok(calls.object)
}

fn add_batches<'js>(calls: &Calls<'js>) -> Result<()> {
    calls.add("getMany", |store: Text, keys: Vec<Text>| {
        let keys = texts(keys);
        let read = opened(&store).and_then(|bucket| batch::get_many(&bucket, &keys));
        let values = read.map(|read| {
            read.into_iter()
                .map(|(_, value)| value.map(Bytes))
                .collect()
        });
        answer::<Vec<Option<Bytes>>>(store, values)
    })?;
    calls.add(
        "setMany",
        |store: Text, keys: Vec<Text>, values: Vec<ArrayBuffer<'js>>| {
            let values = values.iter().map(bytes);
            let entries: Vec<_> = texts(keys).into_iter().zip(values).collect();
            let done = opened(&store).and_then(|bucket| batch::set_many(&bucket, &entries));
            answer(store, done)
        },
    )?;
    calls.add("deleteMany", |store: Text, keys: Vec<Text>| {
        let keys = texts(keys);
        let done = opened(&store).and_then(|bucket| batch::delete_many(&bucket, &keys));
        answer(store, done)
    })
}

/// Replaces a value by what the script makes of it, with the newer one again as long as somebody comes between.
fn update<'js>(ctx: Ctx<'js>, store: Text, key: Text, change: Function<'js>) -> Result<Answer<()>> {
    let mut cas = match opened(&store).and_then(|bucket| Cas::new(&bucket, &key.0)) {
        Ok(cas) => cas,
        Err(error) => return Ok(answer(store, Err(error))),
    };
    loop {
        let current = match cas.current() {
            Ok(current) => current.map(Bytes).into_js(&ctx)?,
            Err(error) => return Ok(answer(store, Err(error))),
        };
        let value: ArrayBuffer<'js> = change.call((current,))?;
        match atomics::swap(cas, &bytes(&value)) {
            Ok(()) => return Ok(answer(store, Ok(()))),
            Err(CasError::CasFailed(newer)) => cas = newer,
            Err(CasError::StoreError(error)) => return Ok(answer(store, Err(error))),
        }
    }
}

fn opened(store: &Text) -> std::result::Result<Bucket, Error> {
    store::open(&store.0)
}

fn texts(texts: Vec<Text>) -> Vec<String> {
    texts.into_iter().map(|text| text.0).collect()
}

fn bytes(buffer: &ArrayBuffer<'_>) -> Vec<u8> {
    #[allow(
        unsafe_code,
        reason = "the script does not run while its bytes are read"
    )]
    let bytes = unsafe { buffer.as_bytes() };
    bytes.unwrap_or_default().to_vec()
}

struct Bytes(Vec<u8>);

impl<'js> IntoJs<'js> for Bytes {
    fn into_js(self, ctx: &Ctx<'js>) -> Result<Value<'js>> {
        raw::buffer(ctx, &self.0)?.into_js(ctx)
    }
}

/// Keys, and where the next part begins, as an array of both.
struct Page(KeyResponse);

impl<'js> IntoJs<'js> for Page {
    fn into_js(self, ctx: &Ctx<'js>) -> Result<Value<'js>> {
        let page = Array::new(ctx.clone())?;
        page.set(0, self.0.keys)?;
        page.set(1, self.0.cursor)?;
        page.into_js(ctx)
    }
}

/// What a call came to; an error is thrown, with its kind as `code`.
struct Answer<T> {
    store: String,
    came_to: std::result::Result<T, Error>,
}

fn answer<T>(store: Text, came_to: std::result::Result<T, Error>) -> Answer<T> {
    let store = store.0;
    Answer { store, came_to }
}

impl<'js, T: IntoJs<'js>> IntoJs<'js> for Answer<T> {
    fn into_js(self, ctx: &Ctx<'js>) -> Result<Value<'js>> {
        let error = match self.came_to {
            Ok(value) => return value.into_js(ctx),
            Err(error) => error,
        };
        let name = self.store;
        let (code, message) = match error {
            Error::NoSuchStore => ("invalid", format!("`{name}` cannot be the name of a store")),
            Error::AccessDenied => (
                "denied",
                format!(
                    "key-value store `{name}` was refused: not in grants.kv of queue `{}`\n\
                     hint: add `{name}` to `grants.kv.stores` of the queue, or to `grants.kv.shared` if other queues use it",
                    current_job::queue_name()
                ),
            ),
            Error::Other(reason) => ("failed", reason),
        };
        Err(coded(ctx, code, &message)?.throw())
    }
}
