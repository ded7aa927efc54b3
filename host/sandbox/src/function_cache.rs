//! Compiled functions on disk: a component with the code of an earlier one and other data is not compiled again.
//!
//! A snapshot of a language's runtime is such a component: all processors in JavaScript are one engine with different
//! memories. The functions of a component are one file, named by the code of its modules.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use wasmparser::{Parser, Payload};
use wasmtime::CacheStore;

use crate::cache::{Cache, Kept};
use crate::digest::Digest;

/// What less code than this costs to compile is not worth a file.
const CODE_BYTES_MIN: usize = 512 * 1024;
/// A file is written without those that were not needed once it has so many for each that was.
const ENTRIES_PER_USED: usize = 2;

/// The compiler's name for a function and all that its code depends on.
type Key = [u8; 32];

/// Functions of one component: those that were read from disk, and those that were compiled now.
pub(crate) struct Functions {
    code: Digest,
    file: Vec<u8>,
    known: BTreeMap<Key, Known>,
    new: Mutex<BTreeMap<Key, Vec<u8>>>,
}

struct Known {
    at: Range<usize>,
    used: AtomicBool,
}

impl Functions {
    /// Reads what is known of the code of a component. None: it has too little to be kept.
    pub(crate) fn of(component: &[u8], cache: &Cache) -> Option<Arc<Self>> {
        let code = code_digest(component)?;
        let file = cache.read(Kept::Functions, &code).unwrap_or_default();
        let known = entries(&file);
        let new = Mutex::default();
        Some(Arc::new(Functions {
            code,
            file,
            known,
            new,
        }))
    }

    /// Keeps the functions of the component, if some were not known before.
    pub(crate) fn keep(&self, cache: &Cache) {
        let new = self.new.lock();
        if new.is_empty() {
            return;
        }
        // The compiler's names for one function vary a little with what it did before: it may ask again for those that it
        // did not need now.
        let all = self.known.len() <= ENTRIES_PER_USED * (self.used() + new.len());
        let known = self.known.iter();
        let known = known.filter(|(_, known)| all || known.used.load(Ordering::Relaxed));
        let known = known.map(|(key, known)| (key, &self.file[known.at.clone()]));
        let new = new.iter().map(|(key, function)| (key, &**function));
        let mut file = Vec::new();
        for (key, function) in known.chain(new) {
            // No compiled function is larger than the component may be.
            let Ok(bytes) = u32::try_from(function.len()) else {
                continue;
            };
            file.extend_from_slice(key);
            file.extend_from_slice(&bytes.to_le_bytes());
            file.extend_from_slice(function);
        }
        cache.write(Kept::Functions, &self.code, &file);
    }

    fn used(&self) -> usize {
        let used = self.known.values();
        used.filter(|known| known.used.load(Ordering::Relaxed))
            .count()
    }
}

impl CacheStore for Functions {
    fn get(&self, key: &[u8]) -> Option<Cow<'_, [u8]>> {
        let known = self.known.get(key)?;
        known.used.store(true, Ordering::Relaxed);
        Some(Cow::Borrowed(&self.file[known.at.clone()]))
    }

    fn insert(&self, key: &[u8], function: Vec<u8>) -> bool {
        let Ok(key) = Key::try_from(key) else {
            return false;
        };
        self.new.lock().insert(key, function);
        true
    }
}

impl std::fmt::Debug for Functions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Functions")
            .field("code", &self.code)
            .finish_non_exhaustive()
    }
}

/// Where each function is in a file.
fn entries(file: &[u8]) -> BTreeMap<Key, Known> {
    let mut known = BTreeMap::new();
    let mut at = 0;
    while let Some((key, rest)) = file[at..].split_first_chunk::<32>()
        && let Some((bytes, rest)) = rest.split_first_chunk::<4>()
        && let Some(function) = rest.get(..u32::from_le_bytes(*bytes) as usize)
    {
        let begin = at + key.len() + bytes.len();
        at = begin + function.len();
        let used = AtomicBool::new(false);
        known.insert(
            *key,
            Known {
                at: begin..at,
                used,
            },
        );
    }
    known
}

/// The digest of the code of all modules; none where it is little. A component that cannot be read has no code.
fn code_digest(component: &[u8]) -> Option<Digest> {
    let mut code = Vec::new();
    for payload in Parser::new(0).parse_all(component) {
        if let Payload::CodeSectionStart { range, .. } = payload.ok()? {
            code.extend_from_slice(&range.len().to_le_bytes());
            code.extend_from_slice(component.get(range)?);
        }
    }
    (code.len() >= CODE_BYTES_MIN).then(|| Digest::of(&code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_read_as_far_as_they_are_whole() {
        let mut file = Vec::new();
        for (key, function) in [(1, "one"), (2, ""), (3, "three")] {
            file.extend_from_slice(&[key; 32]);
            file.extend_from_slice(&(function.len() as u32).to_le_bytes());
            file.extend_from_slice(function.as_bytes());
        }
        let known = entries(&file);
        let function = |key: u8| &file[known[&[key; 32]].at.clone()];
        assert_eq!(
            [function(1), function(2), function(3)],
            [&b"one"[..], b"", b"three"]
        );
        assert_eq!(entries(&file[..file.len() - 1]).len(), 2);
        assert!(entries(b"").is_empty());
    }
}
