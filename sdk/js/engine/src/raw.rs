//! What rquickjs has no safe function for.
#![allow(unsafe_code, reason = "calls of QuickJS's functions in C")]

use std::ffi::{CStr, c_char, c_void};
use std::ptr;

use rquickjs::{ArrayBuffer, Context, Ctx, Value, qjs};

/// The name of the script in stacks, before the source map is applied.
pub(crate) const SCRIPT: &str = "processor.js";

/// Evaluates a script in the global scope. `Err` is what it threw.
pub(crate) fn evaluate<'js>(
    ctx: &Ctx<'js>,
    source: String,
    name: &CStr,
) -> Result<Value<'js>, Value<'js>> {
    let mut source = terminated(source);
    let result = evaluate_text(ctx, &source, name);
    // The text would be a part of the snapshot.
    source.fill(0);
    std::hint::black_box(&source);
    result
}

/// As `evaluate`, for the script of the processor: its functions, whose `toString` shows their text, share this one.
pub(crate) fn evaluate_kept<'js>(
    ctx: &Ctx<'js>,
    source: String,
    name: &CStr,
) -> Result<Value<'js>, Value<'js>> {
    let source: &'static [u8] = terminated(source).leak();
    unsafe { keep_source(source.as_ptr().cast(), source.len()) };
    evaluate_text(ctx, source, name)
}

/// QuickJS reads up to a NUL.
fn terminated(source: String) -> Vec<u8> {
    let mut source = source.into_bytes();
    source.push(0);
    source
}

fn evaluate_text<'js>(
    ctx: &Ctx<'js>,
    source: &[u8],
    name: &CStr,
) -> Result<Value<'js>, Value<'js>> {
    let value = unsafe {
        qjs::JS_Eval(
            ctx.as_raw().as_ptr(),
            source.as_ptr().cast(),
            (source.len() - 1) as qjs::size_t,
            name.as_ptr(),
            qjs::JS_EVAL_TYPE_GLOBAL as i32,
        )
    };
    match unsafe { qjs::JS_IsException(value) } {
        true => Err(ctx.catch()),
        false => Ok(unsafe { Value::from_raw(ctx.clone(), value) }),
    }
}

/// The context of a script that runs, for functions that QuickJS calls without one.
#[derive(Clone, Copy)]
pub(crate) struct Running(ptr::NonNull<qjs::JSContext>);

impl Running {
    pub(crate) fn of(ctx: &Ctx<'_>) -> Self {
        Running(ctx.as_raw())
    }

    /// Only while the context runs.
    pub(crate) fn with<T>(self, work: impl FnOnce(&Ctx<'_>) -> T) -> T {
        work(&unsafe { Ctx::from_raw(self.0) })
    }
}

/// Runs what is next in the job queue; false where it is empty. `Err` is what that threw: rquickjs would drop it.
pub(crate) fn run_job<'js>(ctx: &Ctx<'js>) -> Result<bool, Value<'js>> {
    let mut ran_in = ptr::null_mut();
    let runtime = runtime(ctx);
    match unsafe { qjs::JS_ExecutePendingJob(runtime, &mut ran_in) } {
        0 => Ok(false),
        1.. => Ok(true),
        _ => Err(ctx.catch()),
    }
}

/// A string with U+FFFD in place of each half of a surrogate pair. QuickJS writes those as UTF-8 writes other characters.
pub(crate) fn repaired(text: rquickjs::String<'_>) -> rquickjs::Result<String> {
    let text = text.to_cstring()?;
    let bytes = unsafe { std::slice::from_raw_parts(text.as_ptr().cast::<u8>(), text.len()) };
    let mut bytes = bytes.to_vec();
    let mut at = 0;
    while at + 2 < bytes.len() {
        if bytes[at] == 0xed && bytes[at + 1] >= 0xa0 {
            bytes[at..at + 3].copy_from_slice("\u{fffd}".as_bytes());
        }
        at += 1;
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Bytes for the script, in memory that QuickJS counts: what is in other memory hastens no collection, and a script that has
/// dropped it would run out of memory all the same.
pub(crate) fn buffer<'js>(ctx: &Ctx<'js>, bytes: &[u8]) -> rquickjs::Result<ArrayBuffer<'js>> {
    ArrayBuffer::new_copy(ctx.clone(), bytes)
}

/// Collects garbage now.
pub(crate) fn collect_garbage(ctx: &Ctx<'_>) {
    unsafe { qjs::JS_RunGC(runtime(ctx)) };
}

/// Collects garbage once so many bytes are in use. Not even a `Ctx` has to be there.
pub(crate) fn collect_garbage_at(context: &Context, bytes: usize) {
    let runtime = unsafe { qjs::JS_GetRuntime(context.as_raw().as_ptr()) };
    unsafe { qjs::JS_SetGCThreshold(runtime, bytes as qjs::size_t) };
}

/// How many bytes QuickJS has in use.
pub(crate) fn used_bytes(ctx: &Ctx<'_>) -> usize {
    let mut usage = std::mem::MaybeUninit::uninit();
    unsafe {
        qjs::JS_ComputeMemoryUsage(runtime(ctx), usage.as_mut_ptr());
        usage.assume_init().malloc_size as usize
    }
}

unsafe extern "C" {
    /// See `quickjs/whereabouts.patch`.
    #[link_name = "JS_Whereabouts"]
    fn whereabouts(ctx: *mut qjs::JSContext) -> qjs::JSValue;
    /// See `quickjs/one-source.patch`.
    #[link_name = "JS_KeepSource"]
    fn keep_source(source: *const c_char, length: usize);
    /// See `quickjs/small-arenas.patch`.
    #[link_name = "JS_SetArenaBytes"]
    fn set_arena_bytes(bytes: usize);
    /// See `quickjs/sealed.patch`.
    #[link_name = "JS_SealHeap"]
    fn seal_heap(runtime: *mut qjs::JSRuntime, end: *const c_void);
    #[link_name = "JS_UnsealHeap"]
    fn unseal_heap(runtime: *mut qjs::JSRuntime);
}

/// Where the script is: the lines of a stack. None where there is no memory for them. No function of the script runs for it.
pub(crate) fn place<'js>(ctx: &Ctx<'js>) -> Option<Value<'js>> {
    let text = unsafe { whereabouts(ctx.as_raw().as_ptr()) };
    // Also where a name could not be had and the text could: it must not be taken for one of the script's.
    ctx.catch();
    if unsafe { qjs::JS_IsException(text) } {
        return None;
    }
    Some(unsafe { Value::from_raw(ctx.clone(), text) })
}

/// How large QuickJS's arenas are.
const ARENA_BYTES: usize = 4 << 10;

/// Does something while new arenas of QuickJS have another size.
pub(crate) fn with_arenas_of(bytes: usize, work: impl FnOnce()) {
    unsafe { set_arena_bytes(bytes) };
    work();
    unsafe { set_arena_bytes(ARENA_BYTES) };
}

/// Seals the objects below this address: no reference to them is counted any more, and none of them is freed.
pub(crate) fn seal(ctx: &Ctx<'_>, end: usize) {
    unsafe { seal_heap(runtime(ctx), ptr::without_provenance(end)) };
}

/// Counts all references again. Only right before anything was done with the objects since they were sealed: not even a `Ctx`
/// may be there.
pub(crate) fn unseal(context: &Context) {
    unsafe { unseal_heap(qjs::JS_GetRuntime(context.as_raw().as_ptr())) };
}

/// Does something that may go as deep as this, in bytes of stack; afterwards the limit is the other one again.
pub(crate) fn with_stack<T>(
    ctx: &Ctx<'_>,
    deep: usize,
    otherwise: usize,
    work: impl FnOnce() -> T,
) -> T {
    let limit = |bytes: usize| unsafe {
        qjs::JS_SetMaxStackSize(runtime(ctx), bytes as qjs::size_t);
    };
    limit(deep);
    let result = work();
    limit(otherwise);
    result
}

/// Allocates as QuickJS does for its own objects.
pub(crate) fn allocate(ctx: &Ctx<'_>, bytes: usize) -> *mut u8 {
    unsafe { qjs::js_malloc_rt(runtime(ctx), bytes as qjs::size_t).cast() }
}

fn runtime(ctx: &Ctx<'_>) -> *mut qjs::JSRuntime {
    unsafe { qjs::JS_GetRuntime(ctx.as_raw().as_ptr()) }
}
