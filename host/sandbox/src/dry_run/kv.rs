//! Key-value stores of a dry run. What `host/queue/lua/kv_*.lua` do in Redis is done here in memory, with the same answers.

use std::collections::BTreeMap;
use std::ops::Bound;

use async_trait::async_trait;

use super::backend::DryBackend;
use super::store::Store;
use crate::backend::{KvBackend, KvError, KvPage, KvResult, KvRoom, KvStore, KvVersioned};

/// Keys of one page.
const PAGE_KEYS: usize = 1000;

/// One store.
#[derive(Debug, Default)]
pub(super) struct Table {
    entries: BTreeMap<String, StoredValue>,
    /// Counts the writes.
    version: u64,
}

#[derive(Debug)]
struct StoredValue {
    value: Vec<u8>,
    version: u64,
    expires_ms: Option<u64>,
}

impl Table {
    fn expire(&mut self, now_ms: u64) {
        let kept = |entry: &StoredValue| entry.expires_ms.is_none_or(|expires| expires > now_ms);
        self.entries.retain(|_, entry| kept(entry));
    }

    fn get(&self, key: &str) -> Option<&[u8]> {
        self.entries.get(key).map(|entry| &*entry.value)
    }

    fn version(&self, key: &str) -> u64 {
        self.entries.get(key).map_or(0, |entry| entry.version)
    }

    /// Writes values if there is room for all of them.
    fn put(&mut self, entries: Vec<(String, Vec<u8>)>, room: &KvRoom, now_ms: u64) -> KvResult<()> {
        let size = |key: &str, value: &[u8]| (key.len() + value.len()) as u64;
        let before: u64 = self
            .entries
            .iter()
            .map(|(key, entry)| size(key, &entry.value))
            .sum();
        let (mut new_keys, mut bytes) = (0, before);
        for (key, value) in &entries {
            match self.get(key) {
                Some(old) => bytes -= size(key, old),
                None => new_keys += 1,
            }
            bytes += size(key, value);
        }
        if new_keys > 0 && self.entries.len() as u64 + new_keys > room.keys_max {
            return Err(KvError::Keys);
        }
        if bytes > before && bytes > room.bytes_max {
            return Err(KvError::Bytes);
        }
        for (key, value) in entries {
            self.version += 1;
            let entry = StoredValue {
                value,
                version: self.version,
                expires_ms: room.ttl_ms.map(|ttl| now_ms.saturating_add(ttl)),
            };
            self.entries.insert(key, entry);
        }
        Ok(())
    }

    fn sum(&self, key: &str, delta: i64) -> KvResult<i64> {
        let number = match self.get(key) {
            Some(value) => integer(value).ok_or(KvError::NotAnInteger)?,
            None => 0,
        };
        number.checked_add(delta).ok_or(KvError::Overflow)
    }

    fn page(&self, after: Option<&str>) -> KvPage {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let behind = self.entries.range::<str, _>((from, Bound::Unbounded));
        let keys: Vec<String> = behind.take(PAGE_KEYS).map(|(key, _)| key.clone()).collect();
        let next = keys.last().filter(|_| keys.len() == PAGE_KEYS).cloned();
        KvPage { keys, next }
    }
}

/// A number as Redis reads it: the one way to write it.
fn integer(value: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(value).ok()?;
    let number: i64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

impl Store {
    fn table(&mut self, owner: String, store: &KvStore) -> &mut Table {
        let now_ms = self.now_ms;
        let table = self.kv.entry((owner, store.clone())).or_default();
        table.expire(now_ms);
        table
    }
}

impl DryBackend {
    /// Does something with a store as it is now.
    fn with_table<T>(&self, store: &KvStore, act: impl FnOnce(&mut Table, u64) -> T) -> T {
        let queue = &self.job.queue;
        let owner = match store.shared {
            true => queue.prefix().to_owned(),
            false => queue.to_string(),
        };
        let mut all = self.store();
        let now_ms = all.now_ms;
        act(all.table(owner, store), now_ms)
    }
}

#[async_trait]
impl KvBackend for DryBackend {
    async fn kv_get_many(
        &mut self,
        store: &KvStore,
        keys: &[String],
        bytes_max: usize,
    ) -> KvResult<Vec<Option<Vec<u8>>>> {
        let values: Vec<Option<Vec<u8>>> = self.with_table(store, |table, _| {
            keys.iter()
                .map(|key| table.get(key).map(<[u8]>::to_vec))
                .collect()
        });
        match values.iter().flatten().map(Vec::len).sum::<usize>() > bytes_max {
            true => Err(KvError::TooLarge(bytes_max)),
            false => Ok(values),
        }
    }

    async fn kv_exists(&mut self, store: &KvStore, key: &str) -> KvResult<bool> {
        Ok(self.with_table(store, |table, _| table.get(key).is_some()))
    }

    async fn kv_set_many(
        &mut self,
        store: &KvStore,
        entries: Vec<(String, Vec<u8>)>,
        room: &KvRoom,
    ) -> KvResult<()> {
        self.with_table(store, |table, now_ms| table.put(entries, room, now_ms))
    }

    async fn kv_delete_many(&mut self, store: &KvStore, keys: &[String]) -> KvResult<()> {
        self.with_table(store, |table, _| {
            keys.iter().for_each(|key| drop(table.entries.remove(key)));
        });
        Ok(())
    }

    async fn kv_keys(&mut self, store: &KvStore, after: Option<&str>) -> KvResult<KvPage> {
        Ok(self.with_table(store, |table, _| table.page(after)))
    }

    async fn kv_increment(
        &mut self,
        store: &KvStore,
        key: &str,
        delta: i64,
        room: &KvRoom,
    ) -> KvResult<i64> {
        self.with_table(store, |table, now_ms| {
            let sum = table.sum(key, delta)?;
            let entry = (key.to_owned(), sum.to_string().into_bytes());
            table.put(vec![entry], room, now_ms)?;
            Ok(sum)
        })
    }

    async fn kv_read(
        &mut self,
        store: &KvStore,
        key: &str,
        bytes_max: usize,
    ) -> KvResult<KvVersioned> {
        self.with_table(store, |table, _| {
            let value = table.get(key).map(<[u8]>::to_vec);
            match value.as_ref().is_some_and(|value| value.len() > bytes_max) {
                true => Err(KvError::TooLarge(bytes_max)),
                false => Ok(KvVersioned {
                    value,
                    version: table.version(key),
                }),
            }
        })
    }

    async fn kv_swap(
        &mut self,
        store: &KvStore,
        key: &str,
        version: u64,
        value: Vec<u8>,
        room: &KvRoom,
    ) -> KvResult<bool> {
        self.with_table(store, |table, now_ms| {
            if table.version(key) != version {
                return Ok(false);
            }
            table.put(vec![(key.to_owned(), value)], room, now_ms)?;
            Ok(true)
        })
    }
}
