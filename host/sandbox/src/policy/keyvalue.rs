//! Which key-value stores a processor may use, which keys and values, and how much of them.

use std::num::NonZeroU64;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::backend::{KvRoom, KvStore};

/// Bytes of a store's name and of a key, at most.
const NAME_BYTES_MAX: usize = 128;
const KEY_BYTES_MAX: usize = 512;
/// Keys of one call, at most: each takes Redis some microseconds.
const BATCH_KEYS_MAX: usize = 1_000;

/// The longest time that a value is kept, if it has an end: a hundred years.
const TTL_MS_MAX: u64 = 100 * 365 * 86_400_000;

/// Which key-value stores a processor may use, and what each of them may have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct KvGrant {
    /// Stores of this queue alone.
    pub stores: Vec<StoreName>,
    /// Stores that belong to the prefix: every queue that names one here uses the same.
    pub shared: Vec<StoreName>,
    /// Keys that a store may have.
    pub keys_max: u64,
    /// Size of a value, in bytes.
    pub value_bytes_max: usize,
    /// Size of a store, in bytes of its keys and values.
    pub bytes_max: u64,
    /// For how long a value is kept after it was written, in ms (default: until it is removed).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<NonZeroU64>,
}

impl Default for KvGrant {
    fn default() -> Self {
        KvGrant {
            stores: vec![StoreName("default".into())],
            shared: Vec::new(),
            keys_max: 100_000,
            value_bytes_max: 1 << 20,
            bytes_max: 64 << 20,
            ttl_ms: None,
        }
    }
}

/// The name of a store: what may stand in a key of Redis, in a config and on a command line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct StoreName(#[schemars(with = "String")] Arc<str>);

impl From<StoreName> for String {
    fn from(StoreName(name): StoreName) -> Self {
        name.to_string()
    }
}

impl TryFrom<String> for StoreName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        match is_store_name(&name) {
            true => Ok(StoreName(name.into())),
            false => Err(format!(
                "`{name}` cannot be the name of a store: it is 1 to {NAME_BYTES_MAX} letters, digits, `-`, `_` and `.`"
            )),
        }
    }
}

impl std::fmt::Display for StoreName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_store_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(fits)
}

/// Why a store is not opened.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum StoreRefusal {
    /// No store can have this name.
    NoName,
    /// It was not granted; the text says what to add.
    Denied(String),
}

impl KvGrant {
    /// The store of this name. One of the queue's own comes before a shared one.
    pub(crate) fn store(&self, name: &str, queue: &str) -> Result<KvStore, StoreRefusal> {
        if !is_store_name(name) {
            return Err(StoreRefusal::NoName);
        }
        let among = |names: &[StoreName]| names.iter().find(|granted| *granted.0 == *name).cloned();
        let (own, shared) = (among(&self.stores), among(&self.shared));
        let denied = || StoreRefusal::Denied(denial(name, queue));
        Ok(KvStore {
            shared: own.is_none(),
            name: own.or(shared).ok_or_else(denied)?.0,
        })
    }

    /// What a write into a store may leave there.
    pub(crate) fn room(&self) -> KvRoom {
        KvRoom {
            keys_max: self.keys_max,
            bytes_max: self.bytes_max,
            ttl_ms: self.ttl_ms.map(|ttl| ttl.get().min(TTL_MS_MAX)),
        }
    }

    /// May this value be written?
    pub(crate) fn check_value(&self, value: &[u8]) -> Result<(), String> {
        let (bytes, max) = (value.len(), self.value_bytes_max);
        match bytes <= max {
            true => Ok(()),
            false => Err(format!(
                "value has {bytes} bytes, more than the limit of {max} (`grants.kv.value_bytes_max`)"
            )),
        }
    }

    /// The stores, for people.
    pub(super) fn describe(&self) -> Vec<String> {
        let own = self.stores.iter().map(StoreName::to_string);
        let shared = self.shared.iter().map(|name| format!("{name} (shared)"));
        own.chain(shared).collect()
    }

    /// Refuses a grant that says two things of one name, or nothing.
    pub fn check(&self) -> Result<(), String> {
        if let Some(name) = self.shared.iter().find(|name| self.stores.contains(name)) {
            return Err(format!(
                "`grants.kv`: store `{name}` is in `stores` and in `shared`\nhint: keep it in one of them"
            ));
        }
        match self.stores.is_empty() && self.shared.is_empty() {
            true => Err("`grants.kv` names no store\nhint: add `stores = [\"default\"]`".into()),
            false => Ok(()),
        }
    }
}

fn denial(name: &str, queue: &str) -> String {
    format!(
        "key-value store `{name}` was refused: not in grants.kv of queue `{queue}`\n\
         hint: add `{name}` to `stores`, or to `shared` if other queues use it, of `[{}.grants.kv]`",
        super::section(queue)
    )
}

/// May this be a key?
pub(crate) fn check_key(key: &str) -> Result<(), String> {
    match key.len() {
        0 => Err("key is empty".into()),
        bytes if bytes > KEY_BYTES_MAX => Err(format!(
            "key has {bytes} bytes, more than the limit of {KEY_BYTES_MAX}"
        )),
        _ => Ok(()),
    }
}

/// May so many keys be named in one call?
pub(crate) fn check_batch(keys: usize) -> Result<(), String> {
    match keys <= BATCH_KEYS_MAX {
        true => Ok(()),
        false => Err(format!(
            "call names {keys} keys, more than the limit of {BATCH_KEYS_MAX}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(toml: &str) -> KvGrant {
        toml::from_str(toml).unwrap()
    }

    #[test]
    fn stores_are_those_that_were_named() {
        let grant = grant("stores = [\"own\"]\nshared = [\"rates\"]");
        assert!(!grant.store("own", "q").unwrap().shared);
        assert!(grant.store("rates", "q").unwrap().shared);
        let StoreRefusal::Denied(denied) = grant.store("default", "paint").unwrap_err() else {
            panic!()
        };
        assert!(
            denied.contains("not in grants.kv of queue `paint`\nhint: add `default`"),
            "{denied}"
        );
        let long = "x".repeat(129);
        for name in ["", "a:b", "{a}", "own ", "o\0", "ö", "../own", "*", &long] {
            assert_eq!(grant.store(name, "q"), Err(StoreRefusal::NoName), "{name}");
        }
        let granted = KvGrant::default().store("default", "q").unwrap();
        assert!(!granted.shared);
    }

    #[test]
    fn grants_that_say_two_things_or_nothing_are_refused() {
        for (toml, part) in [
            (
                "stores = [\"a\"]\nshared = [\"a\"]",
                "`a` is in `stores` and in `shared`",
            ),
            ("stores = []", "names no store"),
        ] {
            let error = grant(toml).check().unwrap_err();
            assert!(error.contains(part), "{error}");
        }
        assert_eq!(grant("").check(), Ok(()));
        for toml in ["stores = [\"a:b\"]", "ttl_ms = 0", "key_max = 1"] {
            assert!(toml::from_str::<KvGrant>(toml).is_err(), "{toml}");
        }
    }

    #[test]
    fn keys_and_values_have_limits() {
        assert_eq!(check_key(&"k".repeat(512)), Ok(()));
        for key in ["", &"k".repeat(513)] {
            assert!(check_key(key).is_err());
        }
        let grant = grant("value_bytes_max = 3");
        assert_eq!(grant.check_value(b"abc"), Ok(()));
        assert!(
            grant
                .check_value(b"abcd")
                .unwrap_err()
                .contains("grants.kv.value_bytes_max")
        );
        assert!(check_batch(1_000).is_ok() && check_batch(1_001).is_err());
    }
}
