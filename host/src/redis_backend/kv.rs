//! Key-value stores in Redis. What must not be carried out twice is a request, as adding a job is; a value that is written
//! again is the same.

use async_trait::async_trait;

use super::RedisBackend;
use super::calls::{job_error, retried};
use toril_queue::{KvOwner, KvRefusal, QueueError};
use toril_sandbox::backend::{KvBackend, KvError, KvPage, KvResult, KvRoom, KvStore, KvVersioned};

impl RedisBackend {
    /// A store. What the attempt wrote to its job is stored before anything happens there.
    async fn kv(&self, store: &KvStore) -> KvResult<toril_queue::KvStore> {
        self.stored().await;
        let owner = match store.shared {
            true => KvOwner::Prefix,
            false => KvOwner::Queue,
        };
        self.queue.kv(owner, &store.name).map_err(kv_error)
    }
}

#[async_trait]
impl KvBackend for RedisBackend {
    async fn kv_get_many(
        &mut self,
        store: &KvStore,
        keys: &[String],
        bytes_max: usize,
    ) -> KvResult<Vec<Option<Vec<u8>>>> {
        let store = self.kv(store).await?;
        if let [key] = keys {
            let value = retried(|| store.get(key)).await.map_err(kv_error)?;
            return match value.as_ref().is_some_and(|value| value.len() > bytes_max) {
                true => Err(KvError::TooLarge(bytes_max)),
                false => Ok(vec![value]),
            };
        }
        let read = retried(|| store.read(keys, bytes_max)).await;
        let values = read.map_err(kv_error)?.into_iter();
        Ok(values.map(|read| read.value).collect())
    }

    async fn kv_exists(&mut self, store: &KvStore, key: &str) -> KvResult<bool> {
        let store = self.kv(store).await?;
        retried(|| store.exists(key)).await.map_err(kv_error)
    }

    async fn kv_set_many(
        &mut self,
        store: &KvStore,
        entries: Vec<(String, Vec<u8>)>,
        room: &KvRoom,
    ) -> KvResult<()> {
        let (store, room) = (self.kv(store).await?, redis_room(room));
        retried(|| store.set(&entries, &room))
            .await
            .map_err(kv_error)
    }

    async fn kv_delete_many(&mut self, store: &KvStore, keys: &[String]) -> KvResult<()> {
        let store = self.kv(store).await?;
        let deleted = retried(|| store.delete(keys)).await;
        deleted.map(drop).map_err(kv_error)
    }

    async fn kv_keys(&mut self, store: &KvStore, after: Option<&str>) -> KvResult<KvPage> {
        let store = self.kv(store).await?;
        let page = retried(|| store.keys(after)).await.map_err(kv_error)?;
        Ok(KvPage {
            keys: page.keys,
            next: page.next,
        })
    }

    async fn kv_increment(
        &mut self,
        store: &KvStore,
        key: &str,
        delta: i64,
        room: &KvRoom,
    ) -> KvResult<i64> {
        let (store, room) = (self.kv(store).await?, redis_room(room));
        let request = self.request();
        retried(|| store.increment(key, delta, &room, &request))
            .await
            .map_err(kv_error)
    }

    async fn kv_read(
        &mut self,
        store: &KvStore,
        key: &str,
        bytes_max: usize,
    ) -> KvResult<KvVersioned> {
        let store = self.kv(store).await?;
        let keys = [key.to_owned()];
        let read = retried(|| store.read(&keys, bytes_max)).await;
        let read = read.map_err(kv_error)?.into_iter().next();
        Ok(read.map_or_else(KvVersioned::default, |read| KvVersioned {
            value: read.value,
            version: read.version,
        }))
    }

    async fn kv_swap(
        &mut self,
        store: &KvStore,
        key: &str,
        version: u64,
        value: Vec<u8>,
        room: &KvRoom,
    ) -> KvResult<bool> {
        let (store, room) = (self.kv(store).await?, redis_room(room));
        let request = self.request();
        retried(|| store.swap(key, version, &value, &room, &request))
            .await
            .map_err(kv_error)
    }
}

fn redis_room(room: &KvRoom) -> toril_queue::KvRoom {
    toril_queue::KvRoom {
        keys_max: room.keys_max,
        bytes_max: room.bytes_max,
        ttl_ms: room.ttl_ms,
    }
}

fn kv_error(error: QueueError) -> KvError {
    match error {
        QueueError::Kv(KvRefusal::Keys) => KvError::Keys,
        QueueError::Kv(KvRefusal::Bytes) => KvError::Bytes,
        QueueError::Kv(KvRefusal::NotAnInteger) => KvError::NotAnInteger,
        QueueError::Kv(KvRefusal::Overflow) => KvError::Overflow,
        QueueError::TooLarge { bytes_max, .. } => KvError::TooLarge(bytes_max),
        other => KvError::Other(job_error(other)),
    }
}
