//! `wasi:keyvalue`: the stores that were granted.
//!
//! A handle of a bucket is the name of a store that the policy admitted; each call asks the policy about its keys and values
//! and goes to the backend. A handle for compare-and-swap holds the value that it read, which counts against the memory that
//! the guest may have.

use std::collections::BTreeMap;

use wasmtime::component::{Linker, Resource};

use super::{AttemptState, too_many_handles};
use crate::backend::{KvError, KvStore, KvVersioned, reason};
use crate::bindings::keyvalue::wasi::keyvalue::atomics::{self, CasError};
use crate::bindings::keyvalue::wasi::keyvalue::batch;
use crate::bindings::keyvalue::wasi::keyvalue::store::{self, Error, KeyResponse};
use crate::bindings::{Bucket, Cas};
use crate::policy::{KvGrant, StoreRefusal, check_batch, check_key};

/// The outer error ends the guest.
type Answer<T, E = Error> = wasmtime::Result<Result<T, E>>;

/// Offers `wasi:keyvalue`. What a store is not granted for is refused when it is opened.
pub(super) fn add_to_linker(linker: &mut Linker<AttemptState>) -> wasmtime::Result<()> {
    use wasmtime::component::HasSelf;
    store::add_to_linker::<AttemptState, HasSelf<AttemptState>>(linker, |state| state)?;
    atomics::add_to_linker::<AttemptState, HasSelf<AttemptState>>(linker, |state| state)?;
    batch::add_to_linker::<AttemptState, HasSelf<AttemptState>>(linker, |state| state)
}

impl AttemptState {
    fn kv_grant(&self) -> Result<&KvGrant, Error> {
        self.policy.grants.kv.as_ref().ok_or(Error::AccessDenied)
    }

    fn kv_store(&self, bucket: &Resource<Bucket>) -> wasmtime::Result<KvStore> {
        Ok(self.table.get(bucket)?.0.clone())
    }

    /// What one call may carry either way: the largest value that may be written here.
    fn kv_bytes_max(&self) -> usize {
        let granted = self.policy.grants.kv.as_ref();
        let granted = granted.map_or(0, |grant| grant.value_bytes_max);
        self.policy.limits.value_bytes_max.max(granted)
    }

    fn try_open(&mut self, name: &str) -> Result<Resource<Bucket>, Error> {
        let job = self.current.backend.job();
        let store = match self.kv_grant()?.store(name, job.queue) {
            Ok(store) => store,
            Err(StoreRefusal::NoName) => return Err(Error::NoSuchStore),
            Err(StoreRefusal::Denied(reason)) => {
                self.note(|_| reason);
                return Err(Error::AccessDenied);
            }
        };
        let full = |_| Error::Other(too_many_handles());
        self.table.push(Bucket(store)).map_err(full)
    }

    async fn try_get_many(
        &mut self,
        store: &KvStore,
        keys: &[String],
    ) -> Result<Vec<Option<Vec<u8>>>, Error> {
        check_batch(keys.len()).map_err(Error::Other)?;
        check_keys(keys)?;
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let max = self.kv_bytes_max();
        let read = self.current.backend.kv_get_many(store, keys, max).await;
        read.map_err(|error| self.worded(store, error))
    }

    async fn try_set_many(
        &mut self,
        store: &KvStore,
        entries: Vec<(String, Vec<u8>)>,
    ) -> Result<(), Error> {
        check_batch(entries.len()).map_err(Error::Other)?;
        let grant = self.kv_grant()?;
        for (key, value) in &entries {
            check_key(key).map_err(Error::Other)?;
            grant.check_value(value).map_err(Error::Other)?;
        }
        let (room, max) = (grant.room(), self.kv_bytes_max());
        let bytes: usize = entries.iter().map(|(_, value)| value.len()).sum();
        if bytes > max {
            return Err(Error::Other(format!(
                "values have {bytes} bytes, more than the limit of {max} for one call"
            )));
        }
        // The last value for a key counts.
        let entries: BTreeMap<_, _> = entries.into_iter().collect();
        let entries: Vec<_> = entries.into_iter().collect();
        if entries.is_empty() {
            return Ok(());
        }
        let written = self
            .current
            .backend
            .kv_set_many(store, entries, &room)
            .await;
        written.map_err(|error| self.worded(store, error))
    }

    async fn try_delete_many(&mut self, store: &KvStore, keys: &[String]) -> Result<(), Error> {
        check_batch(keys.len()).map_err(Error::Other)?;
        check_keys(keys)?;
        if keys.is_empty() {
            return Ok(());
        }
        let deleted = self.current.backend.kv_delete_many(store, keys).await;
        deleted.map_err(|error| self.worded(store, error))
    }

    async fn try_exists(&mut self, store: &KvStore, key: &str) -> Result<bool, Error> {
        check_key(key).map_err(Error::Other)?;
        let exists = self.current.backend.kv_exists(store, key).await;
        exists.map_err(|error| self.worded(store, error))
    }

    async fn try_list_keys(
        &mut self,
        store: &KvStore,
        cursor: Option<&str>,
    ) -> Result<KeyResponse, Error> {
        // A cursor is a key.
        let valid = cursor.map_or(Ok(()), check_key);
        valid.map_err(|_| Error::Other("cursor is not one of `list-keys`".into()))?;
        let page = self.current.backend.kv_keys(store, cursor).await;
        let page = page.map_err(|error| self.worded(store, error))?;
        Ok(KeyResponse {
            keys: page.keys,
            cursor: page.next,
        })
    }

    async fn try_increment(
        &mut self,
        store: &KvStore,
        key: &str,
        delta: i64,
    ) -> Result<i64, Error> {
        check_key(key).map_err(Error::Other)?;
        let room = self.kv_grant()?.room();
        let sum = self
            .current
            .backend
            .kv_increment(store, key, delta, &room)
            .await;
        sum.map_err(|error| self.worded(store, error))
    }

    async fn read_cas(&mut self, store: KvStore, key: String) -> Result<Cas, Error> {
        check_key(&key).map_err(Error::Other)?;
        let held_max = self.read_bytes_max().saturating_sub(self.cas_bytes_held);
        let max = self.kv_bytes_max().min(held_max);
        let read = self.current.backend.kv_read(&store, &key, max).await;
        let KvVersioned { value, version } = read.map_err(|error| self.worded(&store, error))?;
        Ok(Cas {
            store,
            key,
            value,
            version,
        })
    }

    async fn open_cas(&mut self, store: KvStore, key: String) -> Answer<Resource<Cas>> {
        let cas = match self.read_cas(store, key).await {
            Ok(cas) => cas,
            Err(error) => return Ok(Err(error)),
        };
        let bytes = cas.value.as_ref().map_or(0, Vec::len);
        self.hold(bytes).await?;
        Ok(self.put_cas(cas, bytes))
    }

    fn put_cas(&mut self, cas: Cas, bytes: usize) -> Result<Resource<Cas>, Error> {
        let full = |_| Error::Other(too_many_handles());
        let handle = self.table.push(cas).map_err(full)?;
        self.cas_bytes_held += bytes;
        Ok(handle)
    }

    fn take_cas(&mut self, handle: Resource<Cas>) -> wasmtime::Result<Cas> {
        let cas = self.table.delete(handle)?;
        let bytes = cas.value.as_ref().map_or(0, Vec::len);
        self.cas_bytes_held = self.cas_bytes_held.saturating_sub(bytes);
        Ok(cas)
    }

    /// False: another one wrote in between.
    async fn try_swap(&mut self, cas: &Cas, value: Vec<u8>) -> Result<bool, Error> {
        let grant = self.kv_grant()?;
        grant.check_value(&value).map_err(Error::Other)?;
        let room = grant.room();
        let swapped = self
            .current
            .backend
            .kv_swap(&cas.store, &cas.key, cas.version, value, &room)
            .await;
        swapped.map_err(|error| self.worded(&cas.store, error))
    }

    /// An error in words for the author of the guest: a job that fails of it has them as its reason.
    fn worded(&self, store: &KvStore, error: KvError) -> Error {
        let name = &store.name;
        let grant = self.policy.grants.kv.as_ref();
        let full = |what: &str, limit: u64, key: &str| {
            format!(
                "key-value store `{name}` is full: it may have {limit} {what} (`grants.kv.{key}`)"
            )
        };
        Error::Other(match error {
            KvError::Keys => full("keys", grant.map_or(0, |grant| grant.keys_max), "keys_max"),
            KvError::Bytes => full(
                "bytes",
                grant.map_or(0, |grant| grant.bytes_max),
                "bytes_max",
            ),
            KvError::NotAnInteger => "value is not an integer of 64 bits".into(),
            KvError::Overflow => "sum does not fit into 64 bits".into(),
            KvError::TooLarge(max) => {
                format!("the values to read have more bytes than the limit of {max}")
            }
            KvError::Other(error) => reason(error),
        })
    }
}

fn check_keys(keys: &[String]) -> Result<(), Error> {
    let mut keys = keys.iter();
    keys.try_for_each(|key| check_key(key))
        .map_err(Error::Other)
}

impl store::Host for AttemptState {
    fn open(&mut self, identifier: String) -> Answer<Resource<Bucket>> {
        Ok(self.try_open(&identifier))
    }
}

impl store::HostBucket for AttemptState {
    async fn get(&mut self, bucket: Resource<Bucket>, key: String) -> Answer<Option<Vec<u8>>> {
        let store = self.kv_store(&bucket)?;
        let read = self.try_get_many(&store, &[key]).await;
        Ok(read.map(|values| values.into_iter().next().flatten()))
    }

    async fn set(&mut self, bucket: Resource<Bucket>, key: String, value: Vec<u8>) -> Answer<()> {
        let store = self.kv_store(&bucket)?;
        Ok(self.try_set_many(&store, vec![(key, value)]).await)
    }

    async fn delete(&mut self, bucket: Resource<Bucket>, key: String) -> Answer<()> {
        let store = self.kv_store(&bucket)?;
        Ok(self.try_delete_many(&store, &[key]).await)
    }

    async fn exists(&mut self, bucket: Resource<Bucket>, key: String) -> Answer<bool> {
        let store = self.kv_store(&bucket)?;
        Ok(self.try_exists(&store, &key).await)
    }

    async fn list_keys(
        &mut self,
        bucket: Resource<Bucket>,
        cursor: Option<String>,
    ) -> Answer<KeyResponse> {
        let store = self.kv_store(&bucket)?;
        Ok(self.try_list_keys(&store, cursor.as_deref()).await)
    }

    fn drop(&mut self, bucket: Resource<Bucket>) -> wasmtime::Result<()> {
        self.table.delete(bucket)?;
        Ok(())
    }
}

impl atomics::Host for AttemptState {
    async fn increment(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
        delta: i64,
    ) -> Answer<i64> {
        let store = self.kv_store(&bucket)?;
        Ok(self.try_increment(&store, &key, delta).await)
    }

    async fn swap(&mut self, cas: Resource<Cas>, value: Vec<u8>) -> Answer<(), CasError> {
        let cas = self.take_cas(cas)?;
        Ok(match self.try_swap(&cas, value).await {
            Ok(true) => Ok(()),
            Ok(false) => match self.open_cas(cas.store, cas.key).await? {
                Ok(again) => Err(CasError::CasFailed(again)),
                Err(error) => Err(CasError::StoreError(error)),
            },
            Err(error) => Err(CasError::StoreError(error)),
        })
    }
}

impl atomics::HostCas for AttemptState {
    async fn new(&mut self, bucket: Resource<Bucket>, key: String) -> Answer<Resource<Cas>> {
        let store = self.kv_store(&bucket)?;
        self.open_cas(store, key).await
    }

    fn current(&mut self, cas: Resource<Cas>) -> Answer<Option<Vec<u8>>> {
        Ok(Ok(self.table.get(&cas)?.value.clone()))
    }

    fn drop(&mut self, cas: Resource<Cas>) -> wasmtime::Result<()> {
        self.take_cas(cas).map(drop)
    }
}

impl batch::Host for AttemptState {
    async fn get_many(
        &mut self,
        bucket: Resource<Bucket>,
        keys: Vec<String>,
    ) -> Answer<Vec<(String, Option<Vec<u8>>)>> {
        let store = self.kv_store(&bucket)?;
        let read = self.try_get_many(&store, &keys).await;
        Ok(read.map(|values| keys.into_iter().zip(values).collect()))
    }

    async fn set_many(
        &mut self,
        bucket: Resource<Bucket>,
        key_values: Vec<(String, Vec<u8>)>,
    ) -> Answer<()> {
        let store = self.kv_store(&bucket)?;
        Ok(self.try_set_many(&store, key_values).await)
    }

    async fn delete_many(&mut self, bucket: Resource<Bucket>, keys: Vec<String>) -> Answer<()> {
        let store = self.kv_store(&bucket)?;
        Ok(self.try_delete_many(&store, &keys).await)
    }
}
