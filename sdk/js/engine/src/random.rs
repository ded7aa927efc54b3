//! `Math.random`: seeded in each instance when it is first called, so that no two jobs share numbers.

use std::cell::Cell;

use rquickjs::{Ctx, Function, Object};
use wasip2::random::random::get_random_u64;

use crate::frozen;

thread_local! {
    static STATE: Cell<Option<[u64; 2]>> = const { Cell::new(None) };
}

/// What the script sees while it is loaded: the same for each build, because it ends up in all instances anyway.
const WHILE_LOADED: [u64; 2] = [0x9e37_79b9_7f4a_7c15, 0xbf58_476d_1ce4_e5b9];

/// Replaces `Math.random`, which QuickJS would go on with where the snapshot stopped.
pub(crate) fn install(ctx: &Ctx<'_>) -> rquickjs::Result<()> {
    STATE.set(Some(WHILE_LOADED));
    let math: Object = ctx.globals().get("Math")?;
    math.set(
        "random",
        Function::new(ctx.clone(), number)?.with_name("random")?,
    )
}

/// Forgets the seed; the next number takes a new one.
pub(crate) fn forget() {
    STATE.set(None);
}

/// xorshift128+, as V8 has it. Not for secrets.
fn number() -> f64 {
    frozen::note("a random number");
    let [mut a, b] = STATE
        .get()
        .unwrap_or_else(|| [get_random_u64(), get_random_u64() | 1]);
    a ^= a << 23;
    a ^= a >> 17;
    a ^= b ^ (b >> 26);
    STATE.set(Some([b, a]));
    // The upper 53 bits: as many as a number has.
    (a.wrapping_add(b) >> 11) as f64 / (1_u64 << 53) as f64
}
