//! What moves the script: its job queue, timers and requests. One wait serves all of them.

#[cfg(feature = "outside")]
mod body;
#[cfg(feature = "outside")]
mod decoding;
#[cfg(feature = "outside")]
mod http;
mod rejections;
#[cfg_attr(
    not(feature = "outside"),
    expect(dead_code, reason = "requests alone start tasks")
)]
mod tasks;
mod timers;

use std::cell::RefCell;
use std::rc::Rc;
#[cfg(feature = "outside")]
use std::rc::Weak;

use rquickjs::promise::PromiseState;
use rquickjs::{Ctx, Function, Persistent, Promise, Runtime, Value};
use wasip2::clocks::monotonic_clock;

use crate::{clock, raw, whereabouts};
#[cfg(feature = "outside")]
use body::Body;
use rejections::Rejections;
use tasks::Tasks;
use timers::Timers;

/// How a promise that was waited for ended.
pub(crate) enum End<'js> {
    /// It was fulfilled with this value.
    Fulfilled(Value<'js>),
    /// It was rejected with this value; or something else that nobody catches was thrown before.
    Threw(Value<'js>),
    /// Nothing is left that it could wait for.
    Stuck,
}

/// Whether there is anything to wait for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waits {
    /// Timers and requests run.
    ForAll,
    /// While the script is loaded there are neither.
    ForNothing,
}

#[derive(Default)]
pub(crate) struct EventLoop {
    timers: RefCell<Timers>,
    tasks: Tasks,
    rejections: Rejections,
    /// Answers of which the script may still read.
    #[cfg(feature = "outside")]
    bodies: RefCell<Vec<Weak<Body>>>,
}

impl EventLoop {
    /// Makes the loop of a runtime, which tells it of promises that are rejected.
    pub(crate) fn of(runtime: &Runtime) -> Rc<Self> {
        let events = Rc::<Self>::default();
        let own = Rc::clone(&events);
        runtime.set_host_promise_rejection_tracker(Some(Box::new(
            move |ctx, promise, reason, handled| {
                own.rejections.note(&ctx, promise, reason, handled);
            },
        )));
        events
    }

    /// Runs until the promise is settled. Whatever is thrown meanwhile and caught by nobody ends it, as it ends a process
    /// of Node.
    pub(crate) fn run<'js>(
        self: &Rc<Self>,
        ctx: &Ctx<'js>,
        promise: &Promise<'js>,
        waits: Waits,
    ) -> End<'js> {
        loop {
            match self.turn(ctx, Some(promise), waits) {
                Ok(true) => {}
                Ok(false) => return End::Stuck,
                Err(thrown) => return End::Threw(thrown),
            }
            match promise.state() {
                PromiseState::Pending => {}
                PromiseState::Resolved => {
                    let value = promise.result().and_then(Result::ok);
                    let none = Value::new_undefined(ctx.clone());
                    return End::Fulfilled(value.unwrap_or(none));
                }
                PromiseState::Rejected => {
                    let _ = promise.result::<Value>();
                    return End::Threw(ctx.catch());
                }
            }
        }
    }

    /// Runs what the script put in its job queue. `Err` is what is caught by nobody.
    pub(crate) fn run_jobs<'js>(
        &self,
        ctx: &Ctx<'js>,
        promise: Option<&Promise<'js>>,
    ) -> Result<(), Value<'js>> {
        while raw::run_job(ctx)? {}
        match self.rejections.first_but(ctx, promise) {
            Some(reason) => Err(reason),
            None => Ok(()),
        }
    }

    /// Does what is next; false where nothing is left to be done.
    fn turn<'js>(
        self: &Rc<Self>,
        ctx: &Ctx<'js>,
        promise: Option<&Promise<'js>>,
        waits: Waits,
    ) -> Result<bool, Value<'js>> {
        self.run_jobs(ctx, promise)?;
        if promise.is_some_and(|promise| promise.state() != PromiseState::Pending) {
            return Ok(true);
        }
        if waits == Waits::ForNothing {
            return Ok(false);
        }
        if self.tasks.run(ctx).map_err(|_| ctx.catch())? {
            return Ok(true);
        }
        let due = self.timers.borrow_mut().take_due(clock::monotonic_ns());
        if let Some(callback) = due {
            let call = |callback: Persistent<Function<'static>>| {
                callback.restore(ctx)?.call::<_, Value>(())
            };
            call(callback).map_err(|_| ctx.catch())?;
            return Ok(true);
        }
        Ok(self.wait())
    }

    /// Waits until something can go on; false where there is nothing to wait for.
    fn wait(&self) -> bool {
        let timers = self.timers.borrow();
        if self.tasks.is_empty() && !timers.hold_the_loop() {
            return false;
        }
        whereabouts::forget();
        let alarm = timers.next_due().map(monotonic_clock::subscribe_instant);
        self.tasks.wait(alarm.as_ref());
        true
    }

    /// Drops what is left over: nothing of one job reaches the next.
    pub(crate) fn clear(&self) {
        self.tasks.clear();
        #[cfg(feature = "outside")]
        for body in self.bodies.take() {
            if let Some(body) = body.upgrade() {
                body.close();
            }
        }
        self.timers.take();
        self.rejections.clear();
    }
}

impl EventLoop {
    pub(crate) fn start_timer<'js>(
        &self,
        ctx: &Ctx<'js>,
        callback: Function<'js>,
        delay_ms: f64,
        repeats: bool,
    ) -> u32 {
        let callback = Persistent::save(ctx, callback);
        let now = clock::monotonic_ns();
        let delay_ns = (delay_ms * 1e6) as u64;
        self.timers
            .borrow_mut()
            .start(callback, now, delay_ns, repeats)
    }

    pub(crate) fn stop_timer(&self, id: u32) {
        // Dropped without a borrow: the callback's end may call into the script.
        let _stopped = self.timers.borrow_mut().stop(id);
    }

    pub(crate) fn hold_timer(&self, id: u32, holds: bool) {
        self.timers.borrow_mut().hold(id, holds);
    }

    pub(crate) fn restart_timer(&self, id: u32) {
        self.timers.borrow_mut().restart(id, clock::monotonic_ns());
    }
}
