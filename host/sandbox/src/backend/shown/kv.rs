//! Calls on key-value stores, told as [`Shown`] tells all. Values may be anything, so their size is shown.

use async_trait::async_trait;

use super::Shown;
use crate::backend::{KvBackend, KvPage, KvResult, KvRoom, KvStore, KvVersioned};

#[async_trait]
impl KvBackend for Shown {
    async fn kv_get_many(
        &mut self,
        store: &KvStore,
        keys: &[String],
        bytes_max: usize,
    ) -> KvResult<Vec<Option<Vec<u8>>>> {
        self.show(&format!("kv-get({}, {keys:?})", store.name));
        self.backend.kv_get_many(store, keys, bytes_max).await
    }

    async fn kv_exists(&mut self, store: &KvStore, key: &str) -> KvResult<bool> {
        self.show(&format!("kv-exists({}, {key:?})", store.name));
        self.backend.kv_exists(store, key).await
    }

    async fn kv_set_many(
        &mut self,
        store: &KvStore,
        entries: Vec<(String, Vec<u8>)>,
        room: &KvRoom,
    ) -> KvResult<()> {
        for (key, value) in &entries {
            let bytes = value.len();
            self.show(&format!("kv-set({}, {key:?}, {bytes} bytes)", store.name));
        }
        self.backend.kv_set_many(store, entries, room).await
    }

    async fn kv_delete_many(&mut self, store: &KvStore, keys: &[String]) -> KvResult<()> {
        self.show(&format!("kv-delete({}, {keys:?})", store.name));
        self.backend.kv_delete_many(store, keys).await
    }

    async fn kv_keys(&mut self, store: &KvStore, after: Option<&str>) -> KvResult<KvPage> {
        self.show(&format!("kv-keys({})", store.name));
        self.backend.kv_keys(store, after).await
    }

    async fn kv_increment(
        &mut self,
        store: &KvStore,
        key: &str,
        delta: i64,
        room: &KvRoom,
    ) -> KvResult<i64> {
        self.show(&format!("kv-increment({}, {key:?}, {delta})", store.name));
        self.backend.kv_increment(store, key, delta, room).await
    }

    async fn kv_read(
        &mut self,
        store: &KvStore,
        key: &str,
        bytes_max: usize,
    ) -> KvResult<KvVersioned> {
        self.show(&format!("kv-read({}, {key:?})", store.name));
        self.backend.kv_read(store, key, bytes_max).await
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
        self.show(&format!("kv-swap({}, {key:?}, {bytes} bytes)", store.name));
        self.backend.kv_swap(store, key, version, value, room).await
    }
}
