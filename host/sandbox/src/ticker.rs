//! Asks running guests, at every epoch, whether they should stop. Rests while none runs: an idle host sleeps.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

use wasmtime::Engine;

/// How often a running guest is asked whether it should stop.
pub(crate) const EPOCH: Duration = Duration::from_millis(10);

/// Epochs without a guest after which it rests. Waking it costs, and jobs come in bursts.
const EPOCHS_IDLE: u32 = 100;

/// Counts the guests that run.
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Thread,
}

#[derive(Default)]
struct Shared {
    guests: AtomicUsize,
    resting: AtomicBool,
    ended: AtomicBool,
}

/// A guest runs for as long as this lives.
pub struct Ticking<'a>(&'a Shared);

impl Ticker {
    /// Ticks until it is dropped.
    pub(crate) fn start(engine: &Engine) -> std::io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let (engine, ticks) = (engine.clone(), Arc::clone(&shared));
        let thread = thread::Builder::new()
            .name("epoch".into())
            .spawn(move || tick(&engine, &ticks))?;
        Ok(Ticker {
            shared,
            thread: thread.thread().clone(),
        })
    }

    /// A guest begins.
    pub(crate) fn guest(&self) -> Ticking<'_> {
        // Sequentially consistent, as what `rest` does: either it sees the guest or this sees that it rests.
        self.shared.guests.fetch_add(1, Ordering::SeqCst);
        self.wake();
        Ticking(&self.shared)
    }

    fn wake(&self) {
        if self.shared.resting.load(Ordering::SeqCst) {
            self.shared.resting.store(false, Ordering::SeqCst);
            self.thread.unpark();
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }
}

impl Drop for Ticking<'_> {
    fn drop(&mut self) {
        self.0.guests.fetch_sub(1, Ordering::SeqCst);
    }
}

fn tick(engine: &Engine, shared: &Shared) {
    let mut idle = 0;
    while !shared.ended.load(Ordering::SeqCst) {
        engine.increment_epoch();
        match shared.guests.load(Ordering::SeqCst) {
            0 => idle += 1,
            _ => idle = 0,
        }
        if idle < EPOCHS_IDLE {
            thread::sleep(EPOCH);
        } else {
            rest(shared);
            idle = 0;
        }
    }
}

fn rest(shared: &Shared) {
    shared.resting.store(true, Ordering::SeqCst);
    let idle = || {
        shared.guests.load(Ordering::SeqCst) == 0
            && shared.resting.load(Ordering::SeqCst)
            && !shared.ended.load(Ordering::SeqCst)
    };
    while idle() {
        thread::park();
    }
    shared.resting.store(false, Ordering::SeqCst);
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmtime::{Config, Module, Store};

    /// A module that never ends, stopped by the epoch only.
    fn stopped_by_an_epoch(engine: &Engine) -> bool {
        let endless = r#"(module (func (export "run") (loop br 0)))"#;
        let module = Module::new(engine, wat::parse_str(endless).unwrap()).unwrap();
        let mut store = Store::new(engine, ());
        store.set_epoch_deadline(1);
        let instance = wasmtime::Instance::new(&mut store, &module, &[]).unwrap();
        let run = instance
            .get_typed_func::<(), ()>(&mut store, "run")
            .unwrap();
        run.call(&mut store, ()).is_err()
    }

    #[test]
    fn ticks_again_for_a_guest_that_comes_after_a_rest() {
        let mut config = Config::new();
        config.epoch_interruption(true);
        let engine = Engine::new(&config).unwrap();
        let ticker = Ticker::start(&engine).unwrap();
        for _ in 0..2 {
            let running = ticker.guest();
            assert!(stopped_by_an_epoch(&engine));
            drop(running);
            while !ticker.shared.resting.load(Ordering::SeqCst) {
                thread::yield_now();
            }
        }
    }
}
