//! Ends a script that does not come to its end while it is loaded.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use toril_sandbox::short_machine::again_while_short;
use wasmtime::Engine;

/// Lets the engine's epoch go on after a time, unless it is dropped before.
pub(crate) struct Watchdog {
    _alive: Sender<()>,
}

impl Watchdog {
    pub(crate) fn start(engine: &Engine, after: Duration) -> wasmtime::Result<Self> {
        again_while_short(|| {
            let (alive, ended) = mpsc::channel();
            let engine = engine.weak();
            let watch = move || {
                let late = ended.recv_timeout(after) == Err(RecvTimeoutError::Timeout);
                if let Some(engine) = engine.upgrade().filter(|_| late) {
                    engine.increment_epoch();
                }
            };
            // `thread::spawn` panics where the machine has no thread left.
            thread::Builder::new().spawn(watch)?;
            Ok(Watchdog { _alive: alive })
        })
    }
}
