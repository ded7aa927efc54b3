//! Texts of the script, as the host takes them: the one place that makes Rust strings of JavaScript's.
//!
//! rquickjs refuses a string with half of a surrogate pair. Nothing that the script wrote may pass through its conversions to
//! `String`.

use rquickjs::{Coerced, Ctx, FromJs, Result, Value};

use crate::raw;

/// A text as the script has it: half of a surrogate pair becomes U+FFFD, as JavaScript's own encoders do.
pub(crate) struct Text(pub(crate) String);

impl<'js> FromJs<'js> for Text {
    fn from_js(ctx: &Ctx<'js>, value: Value<'js>) -> Result<Self> {
        let text = rquickjs::String::from_js(ctx, value)?;
        match text.to_string() {
            Err(rquickjs::Error::Utf8(_)) => raw::repaired(text).map(Text),
            text => Ok(Text(text?)),
        }
    }
}

/// Any value, as the script's `String(value)` makes it.
pub(crate) struct Coercion(pub(crate) String);

impl<'js> FromJs<'js> for Coercion {
    fn from_js(ctx: &Ctx<'js>, value: Value<'js>) -> Result<Self> {
        let text = Coerced::<rquickjs::String>::from_js(ctx, value)?.0;
        Ok(Coercion(Text::from_js(ctx, text.into_value())?.0))
    }
}
