//! Stacks as V8 writes them, for `Error.prepareStackTrace`: QuickJS's own begin without the error.
//!
//! A function of the script could not be called where the stack is used up; this one can, and has some more of it.

use rquickjs::function::This;
use rquickjs::{Array, Ctx, FromJs, Function, Object, Result, Value};

use crate::texts::{Coercion, Text};
use crate::{engine, prelude, raw};

/// What the reading of places may use of the stack beyond the script's part.
const STACK_BYTES: usize = 64 << 10;
/// Places of the engine, or in a text that was evaluated: nobody can look at them.
const INNER: [&str; 2] = [prelude::NAME, "<input>"];

/// The stack of an error, from the places at which it was made.
pub(crate) fn prepare<'js>(ctx: Ctx<'js>, error: Value<'js>, sites: Array<'js>) -> String {
    let deep = engine::STACK_BYTES + STACK_BYTES;
    raw::with_stack(&ctx, deep, engine::STACK_BYTES, || {
        let mut stack = head_of(&error);
        let classes = classes_of(&error).unwrap_or_default();
        let mut is_inside = true;
        for site in sites.iter::<Object>() {
            let Ok(frame) = site.and_then(|site| Frame::of(&site)) else {
                break;
            };
            is_inside = is_inside && classes.contains(&frame.function);
            if !is_inside && !frame.is_inner() {
                stack.push_str("\n    at ");
                stack.push_str(&frame.text());
            }
        }
        // What a getter threw must not be taken for the error that is being made.
        ctx.catch();
        stack
    })
}

/// The lines of a stack for the place at which the script is, with the places of its sources. Nothing of the script runs for
/// it: it can be asked for where the script called nothing. An error would be made by functions that a script may replace.
pub(crate) fn here(ctx: &Ctx<'_>) -> Option<String> {
    let stack = Text::from_js(ctx, raw::place(ctx)?).ok()?.0;
    let is_seen = |line: &&str| !INNER.iter().any(|name| line.contains(name));
    let lines: Vec<&str> = stack.lines().filter(is_seen).collect();
    Some(engine::map_stack(&lines.join("\n")))
}

/// `Name: message`.
pub(crate) fn head_of(error: &Value<'_>) -> String {
    let text = |key: &str| {
        let text = error.as_object()?.get::<_, Coercion>(key);
        text.ok().map(|text| text.0)
    };
    let name = text("name").unwrap_or_else(|| "Error".into());
    match text("message") {
        Some(message) if !message.is_empty() => format!("{name}: {message}"),
        _ => name,
    }
}

/// The names of an error's own classes. Their constructors run when it is made, but nobody looks for an error in them.
fn classes_of(error: &Value<'_>) -> Result<Vec<String>> {
    let base: Object = error.ctx().globals().get("Error")?;
    let base: Object = base.get("prototype")?;
    let mut names = Vec::new();
    let mut next = error.as_object().and_then(Object::get_prototype);
    while let Some(class) = next.filter(|class| *class != base) {
        let constructor: Object = class.get("constructor")?;
        names.push(constructor.get::<_, Text>("name")?.0);
        next = class.get_prototype();
    }
    Ok(names)
}

/// A place at which a function was called.
struct Frame {
    /// Empty where it has no name.
    function: String,
    /// None where it is no function of a script.
    file: Option<String>,
    line: i32,
    column: i32,
    /// It waits for what is on the stack.
    is_async: bool,
}

impl Frame {
    fn of(site: &Object<'_>) -> Result<Self> {
        let function: Option<Text> = call(site, "getFunctionName")?;
        let file: Option<Text> = call(site, "getFileName")?;
        let file = file.map(|file| file.0);
        let place = |method: &str| match &file {
            Some(_) => call(site, method),
            None => Ok(0),
        };
        let (line, column) = (place("getLineNumber")?, place("getColumnNumber")?);
        Ok(Frame {
            function: function.map_or_else(String::new, |function| function.0),
            file,
            line,
            column,
            is_async: call(site, "isAsync")?,
        })
    }

    fn is_inner(&self) -> bool {
        self.file
            .as_deref()
            .is_some_and(|file| INNER.contains(&file))
    }

    fn text(&self) -> String {
        let place = match &self.file {
            Some(file) => format!("{file}:{}:{}", self.line, self.column),
            None => "native".into(),
        };
        let wait = if self.is_async { "async " } else { "" };
        match self.function.as_str() {
            "" => format!("{wait}{place}"),
            function => format!("{wait}{function} ({place})"),
        }
    }
}

fn call<'js, T: FromJs<'js>>(site: &Object<'js>, method: &str) -> Result<T> {
    let method: Function = site.get(method)?;
    method.call((This(site.clone()),))
}
