//! What the script throws, as the reason and the stack of a failed attempt.

use rquickjs::function::This;
use rquickjs::{Ctx, FromJs, Function, Object, Value};

use crate::bindings::Failure;
use crate::bindings::toril::processor::jobs::FailureDetail;
use crate::texts::{Coercion, Text};
use crate::{engine, stacks};

/// What is said of a value that cannot be shown.
const UNSHOWABLE: &str = "a value was thrown that cannot be shown";

/// The reason of a failure, and its stack with the lines of the source.
pub(crate) fn detail_of<'js>(ctx: &Ctx<'js>, thrown: &Value<'js>) -> FailureDetail {
    let error = thrown.as_object().filter(|_| thrown.is_error());
    let Some(error) = error else {
        let message = text_of(ctx, thrown);
        return FailureDetail {
            message,
            stack: None,
        };
    };
    let text = |key: &str| {
        let text = error.get::<_, Coercion>(key);
        text.map_or_else(|_| String::new(), |text| text.0)
    };
    let message = text("message");
    // It has none where there was no memory left to make one.
    let stack = match error.get::<_, Value>("stack") {
        Ok(stack) if stack.is_undefined() || stack.is_null() => String::new(),
        _ => text("stack"),
    };
    let head = stacks::head_of(thrown);
    // An exception that a getter left must not be taken for the script's next one.
    ctx.catch();
    let stack = match stack.starts_with(&head) {
        true => stack,
        false if stack.is_empty() => head,
        false => format!("{head}\n{stack}"),
    };
    FailureDetail {
        stack: Some(engine::map_stack(&stack)),
        message,
    }
}

/// An error as a text for people: its stack, which begins with the message.
pub(crate) fn describe<'js>(ctx: &Ctx<'js>, thrown: &Value<'js>) -> String {
    let detail = detail_of(ctx, thrown);
    detail.stack.unwrap_or(detail.message)
}

/// The attempt failed with what was thrown.
pub(crate) fn failed<'js>(ctx: &Ctx<'js>, thrown: &Value<'js>) -> Failure {
    Failure::Failed(detail_of(ctx, thrown))
}

/// The attempt failed for a reason of the engine's.
pub(crate) fn failed_because(message: &str) -> Failure {
    Failure::Failed(FailureDetail {
        message: message.into(),
        stack: None,
    })
}

/// A value that is no error: a text as it is, an object with a message by that, others as JSON.
fn text_of<'js>(ctx: &Ctx<'js>, value: &Value<'js>) -> String {
    if let Some(object) = value.as_object()
        && let Ok(Some(message)) = object.get::<_, Option<Text>>("message")
    {
        return message.0;
    }
    if value.is_object()
        && let Ok(Some(json)) = ctx.json_stringify(value.clone())
        && let Ok(json) = Text::from_js(ctx, json.into_value())
    {
        return json.0;
    }
    let text = ctx
        .globals()
        .get::<_, Function>("String")
        .and_then(|convert| convert.call::<_, Text>((value.clone(),)));
    ctx.catch();
    text.map_or_else(|_| UNSHOWABLE.into(), |text| text.0)
}

/// The failure that the SDK made of an error: `{ kind, message, stack, durationMs }`.
pub(crate) fn failure_from<'js>(failure: &Object<'js>) -> rquickjs::Result<Failure> {
    let kind: String = failure.get("kind")?;
    let detail = || {
        let message: Option<Coercion> = failure.get("message")?;
        let stack: Option<Text> = failure.get("stack")?;
        rquickjs::Result::Ok(FailureDetail {
            message: message.map_or_else(String::new, |message| message.0),
            stack: stack.map(|stack| engine::map_stack(&stack.0)),
        })
    };
    Ok(match kind.as_str() {
        "unrecoverable" => Failure::Unrecoverable(detail()?),
        "delayed" => Failure::Delayed,
        "waiting-children" => Failure::WaitingChildren,
        "waiting" => Failure::Waiting,
        "rate-limited" => {
            let duration: f64 = failure.get("durationMs")?;
            Failure::RateLimited(duration as u64)
        }
        _ => Failure::Failed(detail()?),
    })
}

/// Calls a function of an object that the script made, if it has one of that name.
pub(crate) fn call_if_there<'js>(
    object: &Object<'js>,
    name: &str,
) -> rquickjs::Result<Option<Value<'js>>> {
    let function: Option<Function> = object.get(name)?;
    function
        .map(|function| function.call((This(object.clone()),)))
        .transpose()
}
