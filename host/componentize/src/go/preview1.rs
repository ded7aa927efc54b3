//! WASI preview 1 as far as Go's runtime asks for it while it starts. What would differ between machines or jobs is refused.

use wasmi::{Caller, Error, Linker, Memory, Module};

use super::Starting;

const NAME: &str = crate::PREVIEW_1;
/// The only argument. Packages for command lines read the program's name before `main` (pflag, which cobra imports).
const PROGRAM: &[u8] = b"processor\0";
/// Preview 1's error numbers.
const BAD_FILE: i32 = 8;
/// Preview 1's number of events of clocks.
const CLOCK: u8 = 0;
const PAUSE_MAX_NS: u64 = 1_000_000;
const WAITS: &str = "`main` and its goroutines must not wait: they run while the processor is built, when time stands still";
/// How much of what it printed is shown where it fails.
const PRINTED_BYTES_MAX: usize = 16 * 1024;

type Call<'a> = Caller<'a, Starting>;

/// What the module imports.
pub(super) fn linker(module: &Module) -> Result<Linker<Starting>, Error> {
    let mut linker = Linker::new(module.engine());
    // A module may import a function twice, and some of those that are refused are there after all.
    linker.allow_shadowing(true);
    refuse_all(&mut linker, module)?;
    add_to(&mut linker)?;
    Ok(linker)
}

fn add_to(linker: &mut Linker<Starting>) -> Result<(), Error> {
    linker.func_wrap(NAME, "toril_hold_clock", |_: i32| ())?;
    linker.func_wrap(NAME, "args_sizes_get", argument_sizes)?;
    linker.func_wrap(NAME, "args_get", arguments)?;
    linker.func_wrap(NAME, "environ_sizes_get", no_texts)?;
    linker.func_wrap(NAME, "environ_get", |_: i32, _: i32| 0)?;
    linker.func_wrap(NAME, "fd_prestat_get", |_: i32, _: i32| BAD_FILE)?;
    linker.func_wrap(NAME, "fd_fdstat_set_flags", |_: i32, _: i32| 0)?;
    linker.func_wrap(NAME, "fd_fdstat_get", file_state)?;
    linker.func_wrap(NAME, "clock_time_get", time)?;
    linker.func_wrap(NAME, "random_get", random)?;
    linker.func_wrap(NAME, "fd_write", print)?;
    linker.func_wrap(NAME, "sched_yield", || 0)?;
    linker.func_wrap(NAME, "poll_oneoff", wait)?;
    linker.func_wrap(NAME, "proc_exit", |status: i32| -> Result<(), Error> {
        Err(Error::i32_exit(status))
    })?;
    Ok(())
}

/// Calls of anything else end the program: there is no job yet, and there are no files.
fn refuse_all(linker: &mut Linker<Starting>, module: &Module) -> Result<(), Error> {
    for import in module.imports() {
        let (interface, name) = (import.module().to_owned(), import.name().to_owned());
        let Some(ty) = import.ty().func().cloned() else {
            continue;
        };
        let called = format!("`{name}` of `{interface}`");
        let refuse = move |mut call: Call<'_>, _: &[_], _: &mut [_]| {
            Err(stop(
                &mut call,
                format!(
                    "{called} was called while the processor was built, where there is no job\n\
                     hint: the build runs `main`; call it in the function that processes jobs"
                ),
            ))
        };
        linker.func_new(&interface, &name, ty, refuse)?;
    }
    Ok(())
}

fn stop(call: &mut Call<'_>, reason: String) -> Error {
    let error = Error::new(reason.clone());
    call.data_mut().refused = Some(reason);
    error
}

fn memory(call: &Call<'_>) -> Result<Memory, Error> {
    let memory = call.get_export("memory");
    memory
        .and_then(wasmi::Extern::into_memory)
        .ok_or_else(|| Error::new("it exports no memory"))
}

fn write(call: &mut Call<'_>, at: i32, bytes: &[u8]) -> Result<(), Error> {
    let memory = memory(call)?;
    memory
        .write(call, at as u32 as usize, bytes)
        .map_err(|error| Error::new(error.to_string()))
}

fn argument_sizes(mut call: Call<'_>, count: i32, bytes: i32) -> Result<i32, Error> {
    write(&mut call, count, &1_u32.to_le_bytes())?;
    write(&mut call, bytes, &(PROGRAM.len() as u32).to_le_bytes())?;
    Ok(0)
}

fn arguments(mut call: Call<'_>, places: i32, texts: i32) -> Result<i32, Error> {
    write(&mut call, places, &texts.to_le_bytes())?;
    write(&mut call, texts, PROGRAM)?;
    Ok(0)
}

fn no_texts(mut call: Call<'_>, count: i32, bytes: i32) -> Result<i32, Error> {
    write(&mut call, count, &[0; 4])?;
    write(&mut call, bytes, &[0; 4])?;
    Ok(0)
}

/// The adapter's answer: a character device for each standard stream.
fn file_state(mut call: Call<'_>, file: i32, at: i32) -> Result<i32, Error> {
    if !(0..=2).contains(&file) {
        return Ok(BAD_FILE);
    }
    let mut state = [0; 24];
    state[0] = 2;
    state[8..16].fill(0xff);
    write(&mut call, at, &state)?;
    Ok(0)
}

/// It stands still: what it shows means nothing on another machine. Go takes 0 for a clock that does not work.
fn time(mut call: Call<'_>, _clock: i32, _precision: i64, at: i32) -> Result<i32, Error> {
    write(&mut call, at, &1_u64.to_le_bytes())?;
    Ok(0)
}

/// The runtime asks once. What asks again would be the same in each job.
fn random(mut call: Call<'_>, at: i32, length: i32) -> Result<i32, Error> {
    let seed = call.data_mut().seed.take();
    match seed {
        Some(seed) if length as usize <= seed.len() => {
            write(&mut call, at, &seed[..length as usize])?;
            Ok(0)
        }
        _ => Err(stop(
            &mut call,
            "the processor asked for random numbers while it was built: each job would get the same ones\n\
             hint: ask for them in the function that processes jobs"
                .to_owned(),
        )),
    }
}

/// The runtime looks in without waiting, and waits for a millisecond when it is about to show the stacks of a panic.
fn wait(
    mut call: Call<'_>,
    subscriptions: i32,
    events: i32,
    count: i32,
    ready: i32,
) -> Result<i32, Error> {
    let memory = memory(&call)?;
    let at = subscriptions as u32 as usize;
    let subscription = memory.data(&call).get(at..at + 48).unwrap_or_default();
    let is_short = subscription.get(8) == Some(&CLOCK)
        && read(subscription, 24).is_some_and(|timeout| timeout <= PAUSE_MAX_NS);
    if count != 1 || !is_short {
        return Err(stop(&mut call, WAITS.to_owned()));
    }
    let mut event = [0; 32];
    event[..8].copy_from_slice(&subscription[..8]);
    write(&mut call, events, &event)?;
    write(&mut call, ready, &1_u32.to_le_bytes())?;
    Ok(0)
}

fn read(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..at + 8)?;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

fn print(
    mut call: Call<'_>,
    _file: i32,
    vectors: i32,
    count: i32,
    written: i32,
) -> Result<i32, Error> {
    let memory = memory(&call)?;
    let (bytes, starting) = memory.data_and_store_mut(&mut call);
    let word = |at: usize| {
        let word = bytes.get(at..at + 4).and_then(|word| word.try_into().ok());
        word.map(u32::from_le_bytes).unwrap_or_default() as usize
    };
    let mut sum = 0;
    for vector in 0..count as u32 as usize {
        let at = vectors as u32 as usize + 8 * vector;
        let text = bytes
            .get(word(at)..word(at) + word(at + 4))
            .unwrap_or_default();
        let room = PRINTED_BYTES_MAX.saturating_sub(starting.printed.len());
        let kept = &text[..text.len().min(room)];
        starting.printed.extend_from_slice(kept);
        sum += text.len() as u32;
    }
    write(&mut call, written, &sum.to_le_bytes())?;
    Ok(0)
}
