//! Ends a script that does not come to its end while it is loaded.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use wasmtime::Engine;

/// Lets the engine's epoch go on after a time, unless it is dropped before.
pub(crate) struct Watchdog {
    _alive: Sender<()>,
}

impl Watchdog {
    pub(crate) fn start(engine: &Engine, after: Duration) -> Self {
        let (alive, ended) = mpsc::channel();
        let engine = engine.weak();
        thread::spawn(move || {
            let late = ended.recv_timeout(after) == Err(RecvTimeoutError::Timeout);
            if let Some(engine) = engine.upgrade().filter(|_| late) {
                engine.increment_epoch();
            }
        });
        Watchdog { _alive: alive }
    }
}
