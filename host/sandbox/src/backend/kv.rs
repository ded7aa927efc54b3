//! Key-value stores, as far as a job may use them: what the policy found it may, and within what room.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::JobError;

/// A store that the queue of the job may use.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KvStore {
    /// Its name.
    pub name: Arc<str>,
    /// It belongs to the prefix, not to the queue.
    pub shared: bool,
}

/// What a store may have after a write, and how long what was written is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvRoom {
    /// Keys.
    pub keys_max: u64,
    /// Bytes of keys and values.
    pub bytes_max: u64,
    /// For how long a value is kept after it was written, in ms.
    pub ttl_ms: Option<u64>,
}

/// A value, and which write left it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KvVersioned {
    /// The value, if there is one.
    #[serde(with = "crate::recording::optional_bytes")]
    pub value: Option<Vec<u8>>,
    /// 0 where there is none.
    pub version: u64,
}

/// Some keys of a store, in the order of their bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KvPage {
    /// The keys.
    pub keys: Vec<String>,
    /// After which key the next page begins; none after the last one.
    pub next: Option<String>,
}

/// Why a call on a store failed.
#[derive(Debug, Clone)]
pub enum KvError {
    /// The store would have more keys than it may.
    Keys,
    /// The store would have more bytes than it may.
    Bytes,
    /// The value is not an integer.
    NotAnInteger,
    /// The sum does not fit into 64 bits.
    Overflow,
    /// What should be read has more bytes than that.
    TooLarge(usize),
    /// As any call.
    Other(JobError),
}

impl From<JobError> for KvError {
    fn from(error: JobError) -> Self {
        KvError::Other(error)
    }
}

/// What a call on a store answers.
pub type KvResult<T> = Result<T, KvError>;

/// What a job can do with key-value stores.
#[async_trait]
pub trait KvBackend: Send {
    /// The values of keys, if they have no more bytes together.
    async fn kv_get_many(
        &mut self,
        store: &KvStore,
        keys: &[String],
        bytes_max: usize,
    ) -> KvResult<Vec<Option<Vec<u8>>>>;
    /// True where the key has a value.
    async fn kv_exists(&mut self, store: &KvStore, key: &str) -> KvResult<bool>;
    /// Writes values, all or none. No key is there twice.
    async fn kv_set_many(
        &mut self,
        store: &KvStore,
        entries: Vec<(String, Vec<u8>)>,
        room: &KvRoom,
    ) -> KvResult<()>;
    /// Removes keys.
    async fn kv_delete_many(&mut self, store: &KvStore, keys: &[String]) -> KvResult<()>;
    /// The first keys, or those behind one.
    async fn kv_keys(&mut self, store: &KvStore, after: Option<&str>) -> KvResult<KvPage>;
    /// Adds to a number, once whatever becomes of the answer; returns the sum.
    async fn kv_increment(
        &mut self,
        store: &KvStore,
        key: &str,
        delta: i64,
        room: &KvRoom,
    ) -> KvResult<i64>;
    /// A value with its version, if it has no more bytes.
    async fn kv_read(
        &mut self,
        store: &KvStore,
        key: &str,
        bytes_max: usize,
    ) -> KvResult<KvVersioned>;
    /// Writes a value if the one that is there is of this version, once whatever becomes of the answer. False: it is not.
    async fn kv_swap(
        &mut self,
        store: &KvStore,
        key: &str,
        version: u64,
        value: Vec<u8>,
        room: &KvRoom,
    ) -> KvResult<bool>;
}
