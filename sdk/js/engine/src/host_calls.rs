//! What the script can call of the host: `__toril`, one object for each interface, and how values pass.

#[cfg(feature = "outside")]
mod http;
mod job;
#[cfg(feature = "outside")]
mod kv;
mod queues;
mod steps;
mod system;

use std::rc::Rc;

use rquickjs::function::{IntoJsFunc, ParamRequirement, Params};
use rquickjs::{Ctx, Exception, FromJs, Function, IntoJs, Object, Result, Value};

use crate::bindings::toril::processor::jobs::JobError;
use crate::engine;
use crate::event_loop::EventLoop;
use crate::texts::Text;

/// The object that the script finds as `__toril`.
#[cfg_attr(
    not(feature = "outside"),
    expect(unused_variables, reason = "requests alone need the event loop")
)]
pub(crate) fn object<'js>(ctx: &Ctx<'js>, events: &Rc<EventLoop>) -> Result<Object<'js>> {
    let toril = Object::new(ctx.clone())?;
    toril.set("job", job::object(ctx)?)?;
    #[cfg(feature = "outside")]
    toril.set("kv", kv::object(ctx)?)?;
    toril.set("producer", queues::producer(ctx)?)?;
    toril.set("queues", queues::queues(ctx)?)?;
    toril.set("schedulers", queues::schedulers(ctx)?)?;
    toril.set("steps", steps::object(ctx)?)?;
    system::add(ctx, &toril)?;
    #[cfg(feature = "outside")]
    http::add(ctx, &toril, events)?;
    Ok(toril)
}

/// Adds functions to an object; each can be called in a job only.
struct Calls<'js> {
    ctx: Ctx<'js>,
    object: Object<'js>,
    /// How the script's author knows the object.
    prefix: &'static str,
}

impl<'js> Calls<'js> {
    fn new(ctx: &Ctx<'js>, prefix: &'static str) -> Result<Self> {
        let object = Object::new(ctx.clone())?;
        Ok(Self::on(ctx, object, prefix))
    }

    fn on(ctx: &Ctx<'js>, object: Object<'js>, prefix: &'static str) -> Self {
        Calls {
            ctx: ctx.clone(),
            object,
            prefix,
        }
    }

    fn add<P, F: IntoJsFunc<'js, P> + 'js>(&self, name: &'static str, function: F) -> Result<()>
    where
        P: 'js,
    {
        let call = InJobs {
            prefix: self.prefix,
            name,
            function,
        };
        self.set(name, call)
    }

    /// One that can be called while the script is loaded, too.
    fn add_always<P, F: IntoJsFunc<'js, P> + 'js>(
        &self,
        name: &'static str,
        function: F,
    ) -> Result<()>
    where
        P: 'js,
    {
        self.set(name, function)
    }

    fn set<P: 'js, F: IntoJsFunc<'js, P> + 'js>(&self, name: &str, function: F) -> Result<()> {
        let function = Function::new(self.ctx.clone(), function)?.with_name(name)?;
        self.object.set(name, function)
    }
}

/// A function of the host that there is nothing behind while a processor is built.
struct InJobs<F> {
    prefix: &'static str,
    name: &'static str,
    function: F,
}

impl<'js, P, F: IntoJsFunc<'js, P>> IntoJsFunc<'js, P> for InJobs<F> {
    fn param_requirements() -> ParamRequirement {
        F::param_requirements()
    }

    fn call(&self, params: Params<'_, 'js>) -> Result<Value<'js>> {
        if engine::is_loading() {
            let InJobs { prefix, name, .. } = self;
            let message = format!(
                "`{prefix}{name}` is not possible while the processor is built: a module's top level runs then, once for all \
                 jobs\nhint: call it in the processor's function"
            );
            return Err(Exception::throw_message(params.ctx(), &message));
        }
        self.function.call(params)
    }
}

/// What a call of the host came to; an error is thrown, with its kind as `code`.
struct Answer<T>(std::result::Result<T, JobError>);

impl<'js, T: IntoJs<'js>> IntoJs<'js> for Answer<T> {
    fn into_js(self, ctx: &Ctx<'js>) -> Result<Value<'js>> {
        let error = match self.0 {
            Ok(value) => return value.into_js(ctx),
            Err(error) => error,
        };
        let (code, message) = match &error {
            JobError::NotFound(text) => ("not-found", text),
            JobError::LockLost(text) => ("lock-lost", text),
            JobError::NotInState(text) => ("not-in-state", text),
            JobError::ChildFailed(text) => ("child-failed", text),
            JobError::Denied(text) => ("denied", text),
            JobError::Limit(text) => ("limit", text),
            JobError::Invalid(text) => ("invalid", text),
            JobError::Unavailable(text) => ("unavailable", text),
        };
        Err(coded(ctx, code, message)?.throw())
    }
}

/// An `Error` with a `code`.
pub(crate) fn coded<'js>(ctx: &Ctx<'js>, code: &str, message: &str) -> Result<Exception<'js>> {
    let error = Exception::from_message(ctx.clone(), message)?;
    error.as_object().set("code", code)?;
    Ok(error)
}

/// A list of pairs, each as an array.
struct Pairs(Vec<(String, String)>);

impl<'js> IntoJs<'js> for Pairs {
    fn into_js(self, ctx: &Ctx<'js>) -> Result<Value<'js>> {
        let pairs = self.0.into_iter().map(|(key, value)| vec![key, value]);
        pairs.collect::<Vec<_>>().into_js(ctx)
    }
}

/// Milliseconds and the like: what is not a number from 0 on becomes 0.
struct Whole(u64);

impl<'js> FromJs<'js> for Whole {
    fn from_js(ctx: &Ctx<'js>, value: Value<'js>) -> Result<Self> {
        Ok(Whole(f64::from_js(ctx, value)? as u64))
    }
}
