//! The globals that are the engine's: timers. All others are QuickJS's or the SDK's.

use std::rc::Rc;

use rquickjs::{Ctx, Function, Object, Value};

use crate::event_loop::EventLoop;
use crate::raw;

/// Stacks leave its lines out.
pub(crate) const NAME: &str = "toril:engine";

/// Makes the globals.
pub(crate) fn install<'js>(ctx: &Ctx<'js>, events: &Rc<EventLoop>) -> Result<(), Value<'js>> {
    let source = include_str!("prelude.js").to_owned();
    let prelude = raw::evaluate(ctx, source, c"toril:engine")?;
    timers(ctx, events)
        .and_then(|timers| {
            let prelude: Function = prelude.get()?;
            // Its times are those of the machine that builds.
            ctx.globals().remove("performance")?;
            prelude.call::<_, ()>((timers,))
        })
        .map_err(|_| ctx.catch())
}

fn timers<'js>(ctx: &Ctx<'js>, events: &Rc<EventLoop>) -> rquickjs::Result<Object<'js>> {
    let timers = Object::new(ctx.clone())?;
    let own = Rc::clone(events);
    let start = move |ctx: Ctx<'js>, callback: Function<'js>, delay_ms: f64, repeat: bool| {
        own.start_timer(&ctx, callback, delay_ms, repeat)
    };
    timers.set("start", Function::new(ctx.clone(), start)?)?;
    let own = Rc::clone(events);
    let stop = move |id: u32| own.stop_timer(id);
    timers.set("stop", Function::new(ctx.clone(), stop)?)?;
    let own = Rc::clone(events);
    let hold = move |id: u32, holds: bool| own.hold_timer(id, holds);
    timers.set("hold", Function::new(ctx.clone(), hold)?)?;
    let own = Rc::clone(events);
    let restart = move |id: u32| own.restart_timer(id);
    timers.set("restart", Function::new(ctx.clone(), restart)?)?;
    Ok(timers)
}
