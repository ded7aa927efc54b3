//! `__toril.steps`: the interface `steps`.

use rquickjs::{Ctx, IntoJs, Object, Result, Value};

use super::{Answer, Calls, Text, Whole};
use crate::bindings::toril::processor::producer::NewJob;
use crate::bindings::toril::processor::steps::{self, Called};

pub(super) fn object<'js>(ctx: &Ctx<'js>) -> Result<Object<'js>> {
    let calls = Calls::new(ctx, "steps.")?;
    calls.add("begin", |name: Text| Answer(steps::begin(&name.0)))?;
    calls.add("finish", |name: Text, value: Text| {
        Answer(steps::finish(&name.0, &value.0))
    })?;
    calls.add("sleep", |name: Text, duration: Whole| {
        Answer(steps::sleep(&name.0, duration.0))
    })?;
    calls.add("call", |name: Text, queue: Text, job: NewJob| {
        Answer(steps::call(&name.0, &queue.0, &job))
    })?;
    calls.add("cursor", |name: Text| Answer(steps::cursor(&name.0)))?;
    calls.add("setCursor", |name: Text, place: Text| {
        Answer(steps::set_cursor(&name.0, &place.0))
    })?;
    Ok(calls.object)
}

/// As an object of its `kind` and, once the job has ended, a `text`: its value as JSON, or its reason.
impl<'js> IntoJs<'js> for Called {
    fn into_js(self, ctx: &Ctx<'js>) -> Result<Value<'js>> {
        let (kind, text) = match self {
            Called::Waiting => ("waiting", None),
            Called::Completed(value) => ("completed", Some(value)),
            Called::Failed(reason) => ("failed", Some(reason)),
        };
        let called = Object::new(ctx.clone())?;
        called.set("kind", kind)?;
        called.set("text", text)?;
        called.into_js(ctx)
    }
}
