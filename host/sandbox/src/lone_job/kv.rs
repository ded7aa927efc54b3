//! Key-value stores of a job that is in no queue: they are empty, and stay so.

use async_trait::async_trait;

use super::LoneJob;
use crate::backend::{KvBackend, KvPage, KvResult, KvRoom, KvStore, KvVersioned};

#[async_trait]
impl KvBackend for LoneJob {
    async fn kv_get_many(
        &mut self,
        _: &KvStore,
        keys: &[String],
        _: usize,
    ) -> KvResult<Vec<Option<Vec<u8>>>> {
        Ok(vec![None; keys.len()])
    }

    async fn kv_exists(&mut self, _: &KvStore, _: &str) -> KvResult<bool> {
        Ok(false)
    }

    async fn kv_set_many(
        &mut self,
        _: &KvStore,
        _: Vec<(String, Vec<u8>)>,
        _: &KvRoom,
    ) -> KvResult<()> {
        Ok(())
    }

    async fn kv_delete_many(&mut self, _: &KvStore, _: &[String]) -> KvResult<()> {
        Ok(())
    }

    async fn kv_keys(&mut self, _: &KvStore, _: Option<&str>) -> KvResult<KvPage> {
        Ok(KvPage::default())
    }

    async fn kv_increment(
        &mut self,
        _: &KvStore,
        _: &str,
        delta: i64,
        _: &KvRoom,
    ) -> KvResult<i64> {
        Ok(delta)
    }

    async fn kv_read(&mut self, _: &KvStore, _: &str, _: usize) -> KvResult<KvVersioned> {
        Ok(KvVersioned::default())
    }

    async fn kv_swap(
        &mut self,
        _: &KvStore,
        _: &str,
        _: u64,
        _: Vec<u8>,
        _: &KvRoom,
    ) -> KvResult<bool> {
        Ok(true)
    }
}
