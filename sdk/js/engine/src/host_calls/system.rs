//! The rest of `__toril`: log, environment, random bytes, clock, stacks, texts.

use rquickjs::convert::List;
use rquickjs::{ArrayBuffer, Ctx, Error, FromJs, Object, Result, Value};
use wasip2::cli::environment;
use wasip2::random::random;

use super::{Calls, Pairs, Text};
use crate::bindings::toril::processor::logging::{self, Level};
use crate::{clock, engine, raw, stacks, terms, zones};

/// As many as `crypto.getRandomValues` gives at most.
const RANDOM_BYTES_MAX: u64 = 65_536;

pub(super) fn add<'js>(ctx: &Ctx<'js>, toril: &Object<'js>) -> Result<()> {
    toril.set("logging", log(ctx)?)?;
    let calls = Calls::on(ctx, toril.clone(), "");
    calls.add("environment", || Pairs(variables()))?;
    calls.add("randomBytes", random_bytes)?;
    calls.add_always("monotonicMs", monotonic_ms)?;
    calls.add_always("mapStack", |stack: Text| engine::map_stack(&stack.0))?;
    calls.add_always("prepareStackTrace", stacks::prepare)?;
    calls.add_always("encodeUtf8", encode_utf8)?;
    calls.add_always("decodeUtf8", decode_utf8)?;
    calls.add_always("zoneName", |name: Text| zones::name_of(&name.0))?;
    calls.add_always("zoneNames", zones::names)?;
    calls.add_always("zoneAt", |name: Text, time_ms: f64| {
        zones::at(&name.0, time_ms).map(List)
    })
}

fn log<'js>(ctx: &Ctx<'js>) -> Result<Object<'js>> {
    let calls = Calls::new(ctx, "logging.")?;
    calls.add_always("log", |level: Level, message: Text| {
        logging::log(level, &message.0);
    })?;
    Ok(calls.object)
}

impl<'js> FromJs<'js> for Level {
    fn from_js(ctx: &Ctx<'js>, value: Value<'js>) -> Result<Self> {
        match Text::from_js(ctx, value)?.0.as_str() {
            "trace" => Ok(Level::Trace),
            "debug" => Ok(Level::Debug),
            "info" => Ok(Level::Info),
            "warn" => Ok(Level::Warn),
            "error" => Ok(Level::Error),
            _ => {
                let message = "it is none of `trace`, `debug`, `info`, `warn` and `error`";
                Err(Error::new_from_js_message("string", "level", message))
            }
        }
    }
}

fn variables() -> Vec<(String, String)> {
    let mut variables = environment::get_environment();
    variables.retain(|(name, _)| !terms::is_of_the_host(name));
    variables
}

fn random_bytes<'js>(ctx: Ctx<'js>, count: f64) -> Result<ArrayBuffer<'js>> {
    let count = (count as u64).min(RANDOM_BYTES_MAX);
    raw::buffer(&ctx, &random::get_random_bytes(count))
}

/// While the script is loaded the clock stands still: what it shows then means nothing in a job.
fn monotonic_ms() -> f64 {
    match engine::is_loading() {
        true => 0.0,
        false => clock::monotonic_ns() as f64 / 1e6,
    }
}

fn encode_utf8<'js>(ctx: Ctx<'js>, text: Text) -> Result<ArrayBuffer<'js>> {
    raw::buffer(&ctx, text.0.as_bytes())
}

/// The text in a part of a buffer. With `fatal`, undefined where it is not UTF-8; else with U+FFFD in place of errors.
fn decode_utf8(buffer: ArrayBuffer<'_>, start: usize, end: usize, fatal: bool) -> Option<String> {
    #[allow(
        unsafe_code,
        reason = "the script does not run while its bytes are read"
    )]
    let bytes = unsafe { buffer.as_bytes() }.unwrap_or_default();
    let bytes = bytes.get(start..end.min(bytes.len())).unwrap_or_default();
    match fatal {
        true => std::str::from_utf8(bytes).ok().map(str::to_owned),
        false => Some(String::from_utf8_lossy(bytes).into_owned()),
    }
}
