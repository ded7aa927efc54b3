//! Key-value stores that outlive the job: of the queue, or shared with others. The operator grants them in `grants.kv`.
//!
//! ```
//! use toril_sdk::{kv, prelude::*};
//!
//! #[derive(Default, Serialize, Deserialize)]
//! struct Stock {
//!     cans: u32,
//! }
//!
//! #[toril_sdk::processor]
//! fn process(job: Job) -> Result<i64, Failure> {
//!     let store = kv::open("default")?;
//!     let last: Option<String> = store.get_json("last-job")?;
//!     info!("the job before was {last:?}");
//!     store.set_json("last-job", &job.id())?;
//!     // Whatever other jobs do at the same time, each can is counted.
//!     store.update_json("stock", |stock: Option<Stock>| {
//!         let stock = stock.unwrap_or_default();
//!         Stock { cans: stock.cans + 1 }
//!     })?;
//!     Ok(store.increment("jobs", 1)?)
//! }
//! # fn main() {}
//! ```
//!
//! The interface is `wasi:keyvalue` 0.2.0-draft2. A processor imports it only if it uses this module. Values are bytes; keys are text
//! of up to 512 bytes.

use serde::Serialize;
use serde::de::DeserializeOwned;
use toril_options::json;

use self::bindings::toril::processor::current_job;
use self::bindings::wasi::keyvalue::{atomics, batch, store};

#[allow(
    unsafe_code,
    unreachable_pub,
    missing_docs,
    clippy::allow_attributes_without_reason,
    reason = "generated code"
)]
mod bindings {
    wit_bindgen::generate!({
        path: ["wit", "wit-keyvalue"],
        // The name of the queue, for refusals.
        inline: "
            package toril:stores;
            world guest {
                include wasi:keyvalue/imports@0.2.0-draft2;
                import toril:processor/current-job@1.1.0;
            }
        ",
        world: "toril:stores/guest",
        with: { "toril:processor/jobs@1.1.0": crate::__internal::bindings::toril::processor::jobs },
        generate_all,
    });
}

/// What the imports are is told to the linker by the module that they are in, and that is left out where all of its functions are
/// inlined.
#[used]
static LINKED: fn() = bindings::__link_custom_section_describing_imports;

/// Why a call on a store failed. `?` fails the attempt with it.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// No store can have this name.
    NoSuchStore(String),
    /// The operator did not grant this store.
    Denied {
        /// The name of the store.
        store: String,
        /// The queue of the job.
        queue: String,
    },
    /// Any other reason, as text: a limit of the operator, for example, or that Redis did not answer.
    Failed(String),
    /// A value is not the JSON that was asked for, or cannot be written as JSON.
    Json {
        /// Its key.
        key: String,
        /// The error of serde.
        source: serde_json::Error,
    },
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Error::NoSuchStore(name) => write!(f, "`{name}` cannot be the name of a store"),
            Error::Denied { store, queue } => write!(
                f,
                "key-value store `{store}` was refused: not in grants.kv of queue `{queue}`\n\
                 hint: add `{store}` to `grants.kv.stores` of the queue, or to `grants.kv.shared` if other queues use it"
            ),
            Error::Failed(reason) => f.write_str(reason),
            Error::Json { key, source } => write!(f, "value of `{key}` does not fit: {source}"),
        }
    }
}

impl std::error::Error for Error {}

/// An open store.
#[derive(Debug)]
pub struct Store {
    name: String,
    bucket: store::Bucket,
}

/// Opens a store. A grant without names grants one store, `default`.
pub fn open(name: &str) -> Result<Store, Error> {
    match store::open(name) {
        Ok(bucket) => Ok(Store {
            name: name.to_owned(),
            bucket,
        }),
        Err(error) => Err(failed(name, error)),
    }
}

fn failed(name: &str, error: store::Error) -> Error {
    match error {
        store::Error::NoSuchStore => Error::NoSuchStore(name.to_owned()),
        store::Error::AccessDenied => Error::Denied {
            store: name.to_owned(),
            queue: current_job::queue_name(),
        },
        store::Error::Other(reason) => Error::Failed(reason),
    }
}

impl Store {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        self.answer(self.bucket.get(key))
    }

    /// The value of a key, which is JSON.
    pub fn get_json<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, Error> {
        from_json(key, self.get(key)?)
    }

    /// Writes a value, and replaces an earlier one.
    pub fn set(&self, key: &str, value: impl AsRef<[u8]>) -> Result<(), Error> {
        self.answer(self.bucket.set(key, value.as_ref()))
    }

    /// Writes a value as JSON, and replaces an earlier one.
    pub fn set_json(&self, key: &str, value: &impl Serialize) -> Result<(), Error> {
        self.set(key, to_json(key, value)?)
    }

    /// Removes a key. A key without a value is not an error.
    pub fn delete(&self, key: &str) -> Result<(), Error> {
        self.answer(self.bucket.delete(key))
    }

    /// True if the key has a value.
    pub fn exists(&self, key: &str) -> Result<bool, Error> {
        self.answer(self.bucket.exists(key))
    }

    /// All keys, in the order of their bytes. They are read in parts of up to 1,000.
    pub fn keys(&self) -> Keys<'_> {
        Keys {
            store: self,
            part: Vec::new().into_iter(),
            cursor: Some(None),
        }
    }

    /// Adds to a number, and returns the sum; a key without a value counts as 0. Increments of several jobs add up, and an
    /// increment whose answer is lost is not counted twice. The value is decimal text.
    pub fn increment(&self, key: &str, delta: i64) -> Result<i64, Error> {
        self.answer(atomics::increment(&self.bucket, key, delta))
    }

    /// Reads a value in order to replace it.
    pub fn read(&self, key: &str) -> Result<Swap<'_>, Error> {
        let cas = self.answer(atomics::Cas::new(&self.bucket, key))?;
        Swap::of(self, cas)
    }

    /// Replaces a value by the one that the function makes from it. If another job writes the key meanwhile, the function is
    /// called again with the newer value, until its result can be written.
    pub fn update(
        &self,
        key: &str,
        mut change: impl FnMut(Option<&[u8]>) -> Vec<u8>,
    ) -> Result<(), Error> {
        let mut swap = self.read(key)?;
        loop {
            let value = change(swap.current());
            match swap.with(value)? {
                None => return Ok(()),
                Some(newer) => swap = newer,
            }
        }
    }

    /// [`Store::update`] of a value that is JSON. Returns what was written.
    pub fn update_json<T: DeserializeOwned + Serialize>(
        &self,
        key: &str,
        mut change: impl FnMut(Option<T>) -> T,
    ) -> Result<T, Error> {
        let mut swap = self.read(key)?;
        loop {
            let value = change(from_json(key, swap.value.take())?);
            match swap.with(to_json(key, &value)?)? {
                None => return Ok(value),
                Some(newer) => swap = newer,
            }
        }
    }

    /// The values of up to 1,000 keys with one call, in their order.
    pub fn get_many<K: Into<String>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<Vec<Option<Vec<u8>>>, Error> {
        let keys: Vec<String> = keys.into_iter().map(Into::into).collect();
        let read = self.answer(batch::get_many(&self.bucket, &keys))?;
        Ok(read.into_iter().map(|(_, value)| value).collect())
    }

    /// Writes up to 1,000 values with one call: all of them, or none if they do not fit.
    pub fn set_many<K: Into<String>, V: Into<Vec<u8>>>(
        &self,
        entries: impl IntoIterator<Item = (K, V)>,
    ) -> Result<(), Error> {
        let entries: Vec<(String, Vec<u8>)> = entries
            .into_iter()
            .map(|(key, value)| (key.into(), value.into()))
            .collect();
        self.answer(batch::set_many(&self.bucket, &entries))
    }

    /// Removes up to 1,000 keys with one call.
    pub fn delete_many<K: Into<String>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<(), Error> {
        let keys: Vec<String> = keys.into_iter().map(Into::into).collect();
        self.answer(batch::delete_many(&self.bucket, &keys))
    }

    fn answer<T>(&self, answer: Result<T, store::Error>) -> Result<T, Error> {
        answer.map_err(|error| failed(&self.name, error))
    }
}

/// A value that was read in order to be replaced.
#[derive(Debug)]
pub struct Swap<'a> {
    store: &'a Store,
    cas: atomics::Cas,
    value: Option<Vec<u8>>,
}

impl<'a> Swap<'a> {
    fn of(store: &'a Store, cas: atomics::Cas) -> Result<Self, Error> {
        let value = store.answer(cas.current())?;
        Ok(Swap { store, cas, value })
    }

    /// The value that was read.
    pub fn current(&self) -> Option<&[u8]> {
        self.value.as_deref()
    }

    /// Replaces the value. If another job has written the key since, writes nothing and returns the newer value.
    pub fn with(self, value: impl AsRef<[u8]>) -> Result<Option<Swap<'a>>, Error> {
        match atomics::swap(self.cas, value.as_ref()) {
            Ok(()) => Ok(None),
            Err(atomics::CasError::CasFailed(newer)) => Swap::of(self.store, newer).map(Some),
            Err(atomics::CasError::StoreError(error)) => Err(failed(&self.store.name, error)),
        }
    }
}

/// The keys of a store: see [`Store::keys`].
#[derive(Debug)]
pub struct Keys<'a> {
    store: &'a Store,
    part: std::vec::IntoIter<String>,
    /// Where the next part begins. The outer `None`: there is no further part.
    cursor: Option<Option<String>>,
}

impl Iterator for Keys<'_> {
    type Item = Result<String, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(key) = self.part.next() {
                return Some(Ok(key));
            }
            let cursor = self.cursor.take()?;
            let answer = self.store.bucket.list_keys(cursor.as_deref());
            match self.store.answer(answer) {
                Ok(response) => {
                    self.part = response.keys.into_iter();
                    self.cursor = response.cursor.map(Some);
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

fn from_json<T: DeserializeOwned>(key: &str, value: Option<Vec<u8>>) -> Result<Option<T>, Error> {
    let parsed = value
        .map(|value| json::read(&String::from_utf8_lossy(&value)))
        .transpose();
    parsed.map_err(|source| json_error(key, source))
}

fn to_json(key: &str, value: &impl Serialize) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(value).map_err(|source| json_error(key, source))
}

fn json_error(key: &str, source: serde_json::Error) -> Error {
    Error::Json {
        key: key.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn json_that_other_languages_wrote_is_read() {
        let read = |value: &[u8]| from_json::<serde_json::Value>("k", Some(value.to_vec()));
        for (stored, expected) in [
            (br#""\ud800""# as &[u8], json!("\u{fffd}")),
            (b"\"\xff\"", json!("\u{fffd}")),
            (b"[1e400]", json!([f64::MAX])),
        ] {
            assert_eq!(read(stored).unwrap(), Some(expected));
        }
        assert!(read(b"{").is_err());
    }
}
