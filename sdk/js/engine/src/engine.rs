//! The life of the engine: it loads one script, is snapshotted, and runs jobs, in as many instances as there are.
//!
//! Between loading and the first job nothing of the machine that builds may be left: no handle, no variable of its environment,
//! no random number, no time but what the script itself took.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;

use rquickjs::{Context, Ctx, Function, Object, Persistent, Promise, Runtime, Value};

use crate::bindings::Failure;
use crate::bindings::toril::processor::logging;
use crate::event_loop::{End, EventLoop, Waits};
use crate::heap::{self, ScriptAllocator};
use crate::source_map::SourceMap;
use crate::terms::Terms;
use crate::texts::Text;
use crate::{clock, errors, frozen, host_calls, prelude, random, raw, whereabouts};

/// How deep the script may call, in bytes of the stack in memory, of which there is 1 MiB. An instance cannot look at the stack
/// that the host gives it, by default 4 MiB: calls of functions take 2.5 times as much of that one. What recurses in QuickJS
/// itself takes up to 24 times as much, and could trap where it goes very deep: JSON counts its levels (`quickjs/json.patch`).
pub(crate) const STACK_BYTES: usize = 896 << 10;
/// Why an attempt ends whose promise stays pending.
const STUCK: &str =
    "the processor's promise can never settle: nothing is left that it could wait for";

struct Engine {
    context: Context,
    events: Rc<EventLoop>,
    process: Persistent<Function<'static>>,
    /// A job ran, or runs.
    begun: Cell<bool>,
}

thread_local! {
    static LOADING: Cell<bool> = const { Cell::new(true) };
    static ENGINE: OnceCell<Engine> = const { OnceCell::new() };
    static SOURCE_MAP: RefCell<Option<SourceMap>> = const { RefCell::new(None) };
}

/// True until a script was loaded.
pub(crate) fn is_loading() -> bool {
    LOADING.get()
}

/// A stack of the script with the places of its sources.
pub(crate) fn map_stack(stack: &str) -> String {
    let own = |line: &&str| !line.contains(prelude::NAME);
    let stack: Vec<&str> = stack.lines().filter(own).collect();
    let stack = stack.join("\n");
    SOURCE_MAP.with_borrow(|map| match map {
        Some(map) => map.apply(&stack, raw::SCRIPT),
        None => stack,
    })
}

/// Evaluates a script and keeps what it leaves for `process`.
pub(crate) fn load(source: String, source_map: String) -> Result<(), String> {
    std::panic::set_hook(Box::new(|panic| logging::fatal(&panic.to_string())));
    let seed = seed_of(&source);
    let made = clock::pinned(seed, || {
        let runtime = Runtime::new_with_alloc(ScriptAllocator)?;
        runtime.set_max_stack_size(STACK_BYTES);
        let context = Context::full(&runtime)?;
        whereabouts::watch(&runtime, &context);
        Ok((context, EventLoop::of(&runtime)))
    });
    let (context, events) = made.map_err(|error: rquickjs::Error| error.to_string())?;
    let loaded = context.with(|ctx| {
        evaluate(&ctx, &events, source, source_map)
            .map(|process| Persistent::save(&ctx, process))
            .map_err(|error| error.describe(&ctx))
    });
    let process = match loaded {
        Ok(process) => process,
        Err(error) => {
            // A script that threw may hold what QuickJS cannot free. The instance ends here anyway.
            std::mem::forget((context, events));
            return Err(error);
        }
    };
    events.clear();
    context.with(|ctx| seal(&ctx));
    let engine = Engine {
        context,
        events,
        process,
        begun: Cell::new(false),
    };
    ENGINE
        .with(|cell| cell.set(engine))
        .map_err(|_| "a script was loaded before".to_owned())
}

/// The seed of QuickJS's hashes: what a job brings cannot be made to collide without knowing the script. (FNV-1a)
fn seed_of(source: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    source.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}

/// Why a script was refused.
enum LoadError<'js> {
    Threw(Value<'js>),
    Because(&'static str),
}

impl<'js> LoadError<'js> {
    fn describe(&self, ctx: &Ctx<'js>) -> String {
        match self {
            LoadError::Threw(thrown) => errors::describe(ctx, thrown),
            LoadError::Because(reason) => (*reason).to_owned(),
        }
    }
}

/// Returns the function that runs a job.
fn evaluate<'js>(
    ctx: &Ctx<'js>,
    events: &Rc<EventLoop>,
    source: String,
    source_map: String,
) -> Result<Function<'js>, LoadError<'js>> {
    let thrown = |_| LoadError::Threw(ctx.catch());
    if !source_map.is_empty() {
        let map = SourceMap::parse(ctx, &source_map).map_err(thrown)?;
        SOURCE_MAP.set(Some(map));
    }
    drop(source_map);
    random::install(ctx).map_err(thrown)?;
    prelude::install(ctx, events).map_err(LoadError::Threw)?;
    let toril = host_calls::object(ctx, events).map_err(thrown)?;
    ctx.globals()
        .set("__toril", toril.clone())
        .map_err(thrown)?;
    let evaluated = frozen::watched(ctx, || {
        raw::evaluate_kept(ctx, source, c"processor.js")?;
        events.run_jobs(ctx, None)
    });
    evaluated.map_err(LoadError::Threw)?;
    ctx.globals().remove("__toril").map_err(thrown)?;
    warm_up(ctx, events, &toril)?;
    let process: Option<Function> = toril.get("process").map_err(thrown)?;
    process.ok_or(LoadError::Because(
        "the script does not set `__toril.process`",
    ))
}

/// Runs `warmup`, if there is one.
fn warm_up<'js>(
    ctx: &Ctx<'js>,
    events: &Rc<EventLoop>,
    toril: &Object<'js>,
) -> Result<(), LoadError<'js>> {
    let called = errors::call_if_there(toril, "warmup");
    let result = called.map_err(|_| LoadError::Threw(ctx.catch()))?;
    let Some(promise) = result.and_then(Value::into_promise) else {
        return events.run_jobs(ctx, None).map_err(LoadError::Threw);
    };
    match events.run(ctx, &promise, Waits::ForNothing) {
        End::Fulfilled(_) => Ok(()),
        End::Threw(thrown) => Err(LoadError::Threw(thrown)),
        End::Stuck => Err(LoadError::Because(
            "`warmup` waits for a timer or a request, which there are none of while the processor is built",
        )),
    }
}

/// The last that happens before the snapshot.
fn seal(ctx: &Ctx<'_>) {
    random::forget();
    raw::collect_garbage(ctx);
    let end = heap::gaps::fill(ctx);
    heap::seal(end, raw::used_bytes(ctx));
    raw::seal(ctx, end);
    LOADING.set(false);
}

/// Runs one attempt of a job.
pub(crate) fn process() -> Result<String, Failure> {
    ENGINE.with(|engine| match engine.get() {
        Some(engine) => engine.process(),
        None => Err(errors::failed_because("the engine holds no processor")),
    })
}

impl Engine {
    fn process(&self) -> Result<String, Failure> {
        match self.begun.replace(true) {
            false => self.begin(&Terms::read()),
            true => heap::renew(),
        }
        self.context.with(|ctx| {
            let outcome = self.call(&ctx);
            self.events.clear();
            outcome
        })
    }

    /// Makes the snapshot's memory that of this instance.
    fn begin(&self, terms: &Terms) {
        let collect_at = heap::limit(terms.memory_bytes_max);
        if terms.is_reused {
            // What an object of the snapshot refers to would stay for all jobs to come, although the script dropped it.
            heap::unseal();
            raw::unseal(&self.context);
        }
        raw::collect_garbage_at(&self.context, collect_at);
    }

    fn call(&self, ctx: &Ctx<'_>) -> Result<String, Failure> {
        let thrown = |_| errors::failed(ctx, &ctx.catch());
        let process = self.process.clone().restore(ctx).map_err(thrown)?;
        let promise: Promise = process.call(()).map_err(thrown)?;
        match self.events.run(ctx, &promise, Waits::ForAll) {
            End::Fulfilled(outcome) => outcome_of(&outcome).map_err(thrown)?,
            End::Threw(thrown) => Err(errors::failed(ctx, &thrown)),
            End::Stuck => Err(errors::failed_because(STUCK)),
        }
    }
}

/// Reads `{ ok }` or `{ failure }`.
fn outcome_of(outcome: &Value<'_>) -> rquickjs::Result<Result<String, Failure>> {
    let outcome: Object = outcome.get()?;
    let failure: Option<Object> = outcome.get("failure")?;
    match failure {
        Some(failure) => Ok(Err(errors::failure_from(&failure)?)),
        None => Ok(Ok(outcome.get::<_, Text>("ok")?.0)),
    }
}
