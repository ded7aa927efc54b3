//! Secrets, and keeping them out of what others see: logs, reasons, stacks, progress and values.

mod decoded;
mod forms;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use aho_corasick::{AhoCorasick, MatchKind};
use serde_json::Value;
use toril_options::json;

use self::decoded::Decoded;
use self::forms::forms;

/// A secret shorter than this would make every log unreadable, were it replaced.
const SECRET_BYTES_MIN: usize = 4;
const REPLACEMENT: &str = "***";

/// A text that is shown to a processor and to nobody else.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps a text secret. Refuses one that is too short to be told from other text.
    pub fn new(text: String) -> anyhow::Result<Self> {
        anyhow::ensure!(
            text.len() >= SECRET_BYTES_MIN,
            "it has fewer than {SECRET_BYTES_MIN} bytes"
        );
        Ok(Secret(text))
    }

    /// The text: for the processor alone.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(REPLACEMENT)
    }
}

/// The secrets of one processor, by the environment variables in which it sees them.
#[derive(Debug, Clone, Default)]
pub struct Secrets {
    by_name: BTreeMap<String, Secret>,
    redactor: Option<Arc<Redactor>>,
}

impl FromIterator<(String, Secret)> for Secrets {
    fn from_iter<I: IntoIterator<Item = (String, Secret)>>(secrets: I) -> Self {
        let by_name: BTreeMap<String, Secret> = secrets.into_iter().collect();
        Secrets {
            redactor: Redactor::new(by_name.values()).map(Arc::new),
            by_name,
        }
    }
}

impl PartialEq for Secrets {
    fn eq(&self, other: &Self) -> bool {
        self.by_name == other.by_name
    }
}

impl Secrets {
    /// Adds one, or exchanges it.
    pub fn insert(&mut self, name: String, secret: Secret) {
        let mut by_name = std::mem::take(&mut self.by_name);
        by_name.insert(name, secret);
        *self = by_name.into_iter().collect();
    }

    /// The names of the variables.
    pub fn names(&self) -> Vec<String> {
        self.by_name.keys().cloned().collect()
    }

    /// The names of the variables, and how many bytes each secret has.
    pub(crate) fn lengths(&self) -> BTreeMap<String, usize> {
        let secrets = self.by_name.iter();
        secrets
            .map(|(name, Secret(text))| (name.clone(), text.len()))
            .collect()
    }

    /// What finds them in text; none where there are no secrets.
    pub(crate) fn redactor(&self) -> Option<&Arc<Redactor>> {
        self.redactor.as_ref()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&String, &Secret)> {
        self.by_name.iter()
    }

    /// Replaces the secrets in a text that others will see.
    pub fn redact<'text>(&self, text: &'text str) -> Cow<'text, str> {
        match &self.redactor {
            Some(redactor) => redactor.redact(text),
            None => Cow::Borrowed(text),
        }
    }

    /// True if one is in a text.
    pub(crate) fn are_in(&self, text: &str) -> bool {
        matches!(self.redact(text), Cow::Owned(_))
    }

    /// Replaces the secrets in the texts of a JSON text; it stays JSON.
    pub fn redact_json<'text>(&self, json: &'text str) -> Cow<'text, str> {
        match &self.redactor {
            Some(redactor) => redactor.redact_json(json),
            None => Cow::Borrowed(json),
        }
    }
}

/// Finds secrets: the longest that begins first, in the text as it is and as it reads once it is decoded.
pub(crate) struct Redactor {
    secrets: Vec<Box<[u8]>>,
    finder: AhoCorasick,
    /// For decoded text.
    decoded_finder: AhoCorasick,
}

impl fmt::Debug for Redactor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(REPLACEMENT)
    }
}

impl Redactor {
    fn new<'a>(secrets: impl Iterator<Item = &'a Secret>) -> Option<Self> {
        let secrets: Vec<Box<[u8]>> = secrets
            .flat_map(|Secret(secret)| forms(secret))
            .map(|form| form.into_bytes().into_boxed_slice())
            .collect();
        if secrets.is_empty() {
            return None;
        }
        let decoded = secrets.iter().map(|secret| Decoded::new(secret).bytes);
        let decoded: BTreeSet<Vec<u8>> = decoded
            .filter(|secret| secret.len() >= SECRET_BYTES_MIN)
            .collect();
        let finder_of = |secrets: &mut dyn Iterator<Item = &[u8]>| {
            let mut builder = AhoCorasick::builder();
            // More patterns than fit into its tables cannot come from a config file.
            builder
                .match_kind(MatchKind::LeftmostLongest)
                .build(secrets)
                .ok()
        };
        Some(Redactor {
            finder: finder_of(&mut secrets.iter().map(|secret| &**secret))?,
            decoded_finder: finder_of(&mut decoded.iter().map(|secret| &**secret))?,
            secrets,
        })
    }

    /// Where secrets are, in order. Those that overlap are one.
    fn find(&self, text: &[u8]) -> Vec<Range<usize>> {
        let found = self.finder.find_iter(text);
        let mut found: Vec<Range<usize>> = found.map(|found| found.range()).collect();
        if !decoded::is_encoded(text) {
            return found;
        }
        let decoded = Decoded::new(text);
        let in_decoded = self.decoded_finder.find_iter(&decoded.bytes);
        found.extend(in_decoded.map(|found| decoded.origin(found.range())));
        found.sort_unstable_by_key(|found| (found.start, found.end));
        found.dedup_by(|next, last| {
            let overlaps = next.start < last.end;
            if overlaps {
                last.end = last.end.max(next.end);
            }
            overlaps
        });
        found
    }

    pub(crate) fn redact<'text>(&self, text: &'text str) -> Cow<'text, str> {
        let found = self.find(text.as_bytes());
        if found.is_empty() {
            return Cow::Borrowed(text);
        }
        // Each begins and ends with a secret of whole characters, or with an escape of ASCII.
        let redacted = without(text.as_bytes(), &found);
        Cow::Owned(String::from_utf8_lossy(&redacted).into_owned())
    }

    /// Replaces the secrets in bytes.
    pub(crate) fn redact_bytes(&self, bytes: &mut Vec<u8>) {
        let found = self.find(bytes);
        if !found.is_empty() {
            *bytes = without(bytes, &found);
        }
    }

    /// How long a text can be, at most, that is a secret encoded as often as programs do.
    pub(crate) fn encoded_bytes_max(&self) -> usize {
        let longest = self.secrets.iter().map(|secret| secret.len()).max();
        longest.unwrap_or(0).saturating_mul(4)
    }

    /// Looks at each text by itself, names of fields included: so depth and order make no difference.
    pub(crate) fn redact_json<'text>(&self, json: &'text str) -> Cow<'text, str> {
        if !decoded::is_encoded(json.as_bytes()) && !self.finder.is_match(json) {
            return Cow::Borrowed(json);
        }
        let (mut shown, mut done) = (String::new(), 0);
        for token in texts(json) {
            let text: Cow<'_, str> = json::read::<String>(&json[token.clone()])
                .map_or_else(|_| json[token.clone()].into(), Cow::Owned);
            if let Cow::Owned(redacted) = self.redact(&text) {
                shown.push_str(&json[done..token.start]);
                shown.push_str(&Value::String(redacted).to_string());
                done = token.end;
            }
        }
        match done {
            0 => Cow::Borrowed(json),
            _ => Cow::Owned(shown + &json[done..]),
        }
    }

    /// Moves what can be shown from `pending` to `shown`. What may be the beginning of a secret stays until it is
    /// clear what it is: at the latest at the end of the text. What is encoded it leaves to [`Self::redact`]: that is in
    /// one line, while a secret as it is may have several.
    pub(crate) fn drain(&self, pending: &mut Vec<u8>, at_end: bool, shown: &mut Vec<u8>) {
        let mut done = 0;
        let mut held = self.held_from(pending, done, at_end);
        while let Some(found) = self.finder.find(&pending[done..]) {
            let (start, end) = (done + found.start(), done + found.end());
            if start >= held {
                break;
            }
            shown.extend_from_slice(&pending[done..start]);
            shown.extend_from_slice(REPLACEMENT.as_bytes());
            done = end;
            if done > held {
                held = self.held_from(pending, done, at_end);
            }
        }
        shown.extend_from_slice(&pending[done..held]);
        pending.drain(..held);
    }

    /// Where the first secret may begin whose end is not there yet.
    fn held_from(&self, pending: &[u8], from: usize, at_end: bool) -> usize {
        let len = pending.len();
        if at_end {
            return len;
        }
        let begins_at = |secret: &[u8]| {
            let earliest = from.max((len + 1).saturating_sub(secret.len()));
            (earliest..len).find(|at| secret.starts_with(&pending[*at..]))
        };
        let all = self.secrets.iter();
        all.filter_map(|secret| begins_at(secret))
            .min()
            .unwrap_or(len)
    }
}

fn without(text: &[u8], secrets: &[Range<usize>]) -> Vec<u8> {
    let (mut shown, mut done) = (Vec::with_capacity(text.len()), 0);
    for secret in secrets {
        shown.extend_from_slice(&text[done..secret.start]);
        shown.extend_from_slice(REPLACEMENT.as_bytes());
        done = secret.end;
    }
    shown.extend_from_slice(&text[done..]);
    shown
}

/// Where the texts in a JSON text are, quotes included.
fn texts(json: &str) -> impl Iterator<Item = Range<usize>> {
    let mut bytes = json.bytes().enumerate();
    std::iter::from_fn(move || {
        let (start, _) = bytes.find(|(_, byte)| *byte == b'"')?;
        let mut escaped = false;
        let (end, _) = bytes.find(|(_, byte)| {
            let ends = *byte == b'"' && !escaped;
            escaped = *byte == b'\\' && !escaped;
            ends
        })?;
        Some(start..end + 1)
    })
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;

    use super::*;

    fn secrets(texts: &[&str]) -> Secrets {
        let secret = |text: &&str| Secret::new((*text).to_owned()).unwrap();
        let named = texts.iter().enumerate();
        named
            .map(|(number, text)| (format!("S{number}"), secret(text)))
            .collect()
    }

    #[test]
    fn secrets_are_not_shown() {
        let secrets = secrets(&["hunter22"]);
        assert!(!format!("{secrets:?}").contains("hunter22"));
        assert_eq!(secrets.redact("is hunter22!"), "is ***!");
        assert!(Secret::new("abc".into()).is_err());
    }

    #[test]
    fn secrets_in_base64_are_not_shown() {
        let secrets = secrets(&["hunter22-planted"]);
        for user in ["", "a", "ab", "abc"] {
            let header = BASE64_STANDARD.encode(format!("{user}:hunter22-planted"));
            let shown = secrets.redact(&header).into_owned();
            assert!(shown.contains("***") && shown.len() < 12, "{shown}");
        }
        let nested = r#"{\"a\":\"hun\\\"ter\"}"#;
        let secrets = self::secrets(&["hun\"ter"]);
        assert!(
            secrets.redact(nested).contains("***"),
            "{}",
            secrets.redact(nested)
        );
    }

    #[test]
    fn secrets_in_urls_are_not_shown() {
        let secrets = secrets(&["a/b+c d-e"]);
        let url = "/?t=a%2Fb%2Bc%20d-e&u=a%2Fb%2Bc%20d%2De";
        assert_eq!(secrets.redact(url), "/?t=***&u=***");
    }

    /// As `"`, `\n` and the like are written by JSON, by JavaScript, by Go, and in URLs of any kind, each inside the other.
    #[test]
    fn secrets_are_found_however_they_are_encoded() {
        let secret = "a\"b\\c\nd (e)/f&<g>+h!";
        let secrets = secrets(&[secret]);
        let json = |text: &str| Value::String(text.to_owned()).to_string();
        let mut nested = secret.to_owned();
        for depth in 0..5 {
            nested = json(&nested);
            let shown = secrets.redact(&nested).into_owned();
            assert!(
                shown.contains("***") && !shown.contains("(e)"),
                "{depth}: {shown}"
            );
        }
        for (before, encoded, after) in [
            ("{ key: '", r#"a"b\\c\nd (e)/f&<g>+h!"#, "' }"),
            (
                "{\"k\":\"",
                r#"a\"b\\c\nd (e)/f\u0026\u003cg\u003e+h!"#,
                "\"}",
            ),
            ("\"", r#"a\"b\\c\nd (e)\/f&<g>+h!"#, "\""),
            ("k=", "a%22b%5Cc%0Ad+%28e%29%2Ff%26%3Cg%3E%2Bh%21", "&l=1"),
            ("/", "a%22b%5Cc%0Ad%20(e)/f&%3Cg%3E+h!", "?x=1"),
            (
                "next=%2F%3Fq%3D",
                "a%2522b%255Cc%250Ad%2520%2528e%2529%252Ff%2526%253Cg%253E%252Bh%2521",
                "%26x",
            ),
            (
                "%7B%22k%22%3A%22",
                "a%5C%22b%5C%5Cc%5Cnd%20(e)%2Ff%26%3Cg%3E%2Bh!",
                "%22%7D",
            ),
        ] {
            let shown = secrets
                .redact(&format!("{before}{encoded}{after}"))
                .into_owned();
            assert_eq!(shown, format!("{before}***{after}"));
        }
    }

    #[test]
    fn lines_of_a_secret_of_several_are_not_shown() {
        let pem =
            "-----BEGIN KEY-----\nMIIEvQIBADANBgkq\r\n  hkiG9w0BAQEFAASC\nQ==\n-----END KEY-----\n";
        let secrets = secrets(&[pem]);
        for line in ["MIIEvQIBADANBgkq", "hkiG9w0BAQEFAASC"] {
            assert_eq!(secrets.redact(line), "***");
            assert_eq!(secrets.redact(&format!("'{line}\\n' +")), "'***\\n' +");
        }
        assert_eq!(secrets.redact(pem), "***");
        // Too short to be told from other text.
        assert_eq!(secrets.redact("Q=="), "Q==");
        let one_line = self::secrets(&["only one line here"]);
        assert_eq!(one_line.redact("one line"), "one line");
    }

    #[test]
    fn secret_behind_what_looks_like_an_escape_is_found() {
        let secrets = secrets(&["n0pe-1234", "41abcdef"]);
        for text in [
            r"C:\n0pe-1234",
            r"C:\\n0pe-1234",
            "100%41abcdef",
            "%2541abcdef",
        ] {
            let shown = secrets.redact(text);
            assert!(shown.ends_with("***"), "{shown}");
        }
    }

    #[test]
    fn longest_secret_that_begins_first_is_replaced_in_one_pass() {
        let secrets = secrets(&["hunter22", "hunter22-admin-key", "admin-key-2", "****"]);
        for (text, shown) in [
            ("hunter22-admin-key", "***"),
            ("hunter22-admin-key-2", "***-2"),
            ("hunter22-admin-kez", "***-admin-kez"),
            ("hunter22hunter22", "******"),
            ("xhunter2", "xhunter2"),
        ] {
            assert_eq!(secrets.redact(text), shown, "{text}");
        }
    }

    #[test]
    fn chunks_make_no_difference() {
        let secrets = secrets(&["hunter22", "hunter22-admin-key", "22-x\ny", "key-two"]);
        let redactor = secrets.redactor().unwrap();
        for text in [
            "a hunter22-admin-key b hunter22 c hunter22-admin-kez",
            "hunter22-x\nyhunter2",
            "hunter22-admin-key-two hunter22",
            "22-x\nhunter22-x\ny",
        ] {
            let whole = secrets.redact(text).into_owned();
            for size in 1..text.len() {
                let (mut pending, mut shown) = (Vec::new(), Vec::new());
                for chunk in text.as_bytes().chunks(size) {
                    pending.extend_from_slice(chunk);
                    redactor.drain(&mut pending, false, &mut shown);
                }
                redactor.drain(&mut pending, true, &mut shown);
                assert_eq!(String::from_utf8(shown).unwrap(), whole, "{size}");
            }
        }
    }

    #[test]
    fn secrets_are_found_at_any_depth_and_beside_any_text() {
        let secrets = secrets(&["hunter22"]);
        let escaped = r#"["\u0068unter22","\ud800hunter22","\"hunter22\\"]"#;
        let shown = r#"["***","�***","\"***\\"]"#;
        for levels in [0, 127, 128, 100_000] {
            let nested = |inner: &str| "[".repeat(levels) + inner + &"]".repeat(levels);
            assert_eq!(secrets.redact_json(&nested(escaped)), nested(shown));
        }
    }

    #[test]
    fn json_stays_json() {
        let secrets = secrets(&["12345678", "quo\"te", "hunter22"]);
        for (json, shown) in [
            (r#"{"n":12345678}"#, r#"{"n":12345678}"#),
            (r#"["a 12345678"]"#, r#"["a ***"]"#),
            (r#"{"hunter22":"quo\"te"}"#, r#"{"***":"***"}"#),
            (r#""\u0068unter22""#, r#""***""#),
            (r#"{"b":1.50,"a":"\n"}"#, r#"{"b":1.50,"a":"\n"}"#),
        ] {
            assert_eq!(secrets.redact_json(json), shown);
        }
    }
}
