//! How a secret may look in what others see.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::prelude::{
    BASE64_STANDARD_NO_PAD as STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD as URL_SAFE_NO_PAD,
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::SECRET_BYTES_MIN;

/// A line of a secret that is shorter may be in much that is no secret.
const LINE_BYTES_MIN: usize = 8;

/// A secret as it is, line by line, and as it looks inside JSON, in URLs, and in base64 wherever it begins there.
pub(super) fn forms(secret: &str) -> BTreeSet<String> {
    let escaped = in_json(secret);
    let twice = in_json(&escaped);
    let in_urls = [NON_ALPHANUMERIC, &URL_COMPONENT];
    let in_urls = in_urls.map(|set| utf8_percent_encode(secret, set).to_string());
    let base64_of_json = in_base64(&escaped);
    let others = [secret.to_owned(), escaped, twice]
        .into_iter()
        .chain(in_urls);
    let in_base64 = in_base64(secret).into_iter().chain(base64_of_json);
    others.chain(in_base64).chain(lines(secret)).collect()
}

fn in_json(text: &str) -> String {
    let quoted = Value::String(text.to_owned()).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// The lines of a secret that has several: programs show text line by line.
fn lines(secret: &str) -> impl Iterator<Item = String> {
    let secret = secret.trim();
    let has_several = secret.contains('\n');
    let lines = secret.lines().map(str::trim);
    let lines = lines.filter(move |line| has_several && line.len() >= LINE_BYTES_MIN);
    lines.map(str::to_owned)
}

/// What base64 of any text that has the secret in it has in it: the digits that depend on the secret alone.
fn in_base64(secret: &str) -> Vec<String> {
    let at = |offset: usize| {
        let padded = [&vec![0; offset][..], secret.as_bytes()].concat();
        let (begin, end) = ((offset * 8).div_ceil(6), padded.len() * 8 / 6);
        let digits = [
            STANDARD_NO_PAD.encode(&padded),
            URL_SAFE_NO_PAD.encode(&padded),
        ];
        digits.map(|digits| digits[begin..end].to_owned())
    };
    let digits = (0..3).flat_map(at);
    // Fewer would be found in much that is no secret.
    digits
        .filter(|digits| digits.len() >= SECRET_BYTES_MIN + 2)
        .collect()
}

/// What `encodeURIComponent` encodes.
const URL_COMPONENT: AsciiSet = NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'!')
    .remove(b'~')
    .remove(b'*')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')');
