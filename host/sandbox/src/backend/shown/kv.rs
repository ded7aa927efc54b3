//! Calls on key-value stores, told as [`Shown`] tells all. Values may be anything, so their size is shown.

use async_trait::async_trait;

use super::{Shown, told};
use crate::backend::{KvBackend, KvPage, KvResult, KvRoom, KvStore, KvVersioned, Told};
use crate::recording::Bytes;

/// Values that are told as bytes.
struct AsBytes<'a>(&'a KvResult<Vec<Option<Vec<u8>>>>);

impl Told for AsBytes<'_> {
    fn json(&self) -> String {
        let told: KvResult<Vec<Option<Bytes>>> = match self.0 {
            Ok(values) => Ok(values
                .iter()
                .map(|value| value.clone().map(Bytes))
                .collect()),
            Err(error) => Err(error.clone()),
        };
        told.json()
    }
}

#[async_trait]
impl KvBackend for Shown {
    async fn kv_get_many(
        &mut self,
        store: &KvStore,
        keys: &[String],
        bytes_max: usize,
    ) -> KvResult<Vec<Option<Vec<u8>>>> {
        let call = format!("kv-get({}, {keys:?})", store.name);
        self.watch.called(&call, &[]);
        let values = self.backend.kv_get_many(store, keys, bytes_max).await;
        self.watch.answered(&AsBytes(&values));
        values
    }

    async fn kv_exists(&mut self, store: &KvStore, key: &str) -> KvResult<bool> {
        told!(
            self,
            format!("kv-exists({}, {key:?})", store.name),
            kv_exists(store, key)
        )
    }

    async fn kv_set_many(
        &mut self,
        store: &KvStore,
        entries: Vec<(String, Vec<u8>)>,
        room: &KvRoom,
    ) -> KvResult<()> {
        let shown = |(key, value): &(String, Vec<u8>)| {
            format!("kv-set({}, {key:?}, {} bytes)", store.name, value.len())
        };
        if let Some((last, others)) = entries.split_last() {
            for entry in others {
                self.watch.called(&shown(entry), &entry.1);
            }
            let (call, value) = (shown(last), last.1.clone());
            return told!(self, call, &value, kv_set_many(store, entries, room));
        }
        told!(
            self,
            format!("kv-set({})", store.name),
            kv_set_many(store, entries, room)
        )
    }

    async fn kv_delete_many(&mut self, store: &KvStore, keys: &[String]) -> KvResult<()> {
        told!(
            self,
            format!("kv-delete({}, {keys:?})", store.name),
            kv_delete_many(store, keys)
        )
    }

    async fn kv_keys(&mut self, store: &KvStore, after: Option<&str>) -> KvResult<KvPage> {
        told!(
            self,
            format!("kv-keys({})", store.name),
            kv_keys(store, after)
        )
    }

    async fn kv_increment(
        &mut self,
        store: &KvStore,
        key: &str,
        delta: i64,
        room: &KvRoom,
    ) -> KvResult<i64> {
        told!(
            self,
            format!("kv-increment({}, {key:?}, {delta})", store.name),
            kv_increment(store, key, delta, room)
        )
    }

    async fn kv_read(
        &mut self,
        store: &KvStore,
        key: &str,
        bytes_max: usize,
    ) -> KvResult<KvVersioned> {
        told!(
            self,
            format!("kv-read({}, {key:?})", store.name),
            kv_read(store, key, bytes_max)
        )
    }

    async fn kv_swap(
        &mut self,
        store: &KvStore,
        key: &str,
        version: u64,
        value: Vec<u8>,
        room: &KvRoom,
    ) -> KvResult<bool> {
        let bytes = value.len();
        let call = format!("kv-swap({}, {key:?}, {bytes} bytes)", store.name);
        told!(
            self,
            call,
            &value.clone(),
            kv_swap(store, key, version, value, room)
        )
    }
}
