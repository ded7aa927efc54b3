//! Secrets, and keeping them out of what others see.

use std::borrow::Cow;

use super::Grants;

/// A secret shorter than this would make every log unreadable, were it replaced.
const SECRET_BYTES_MIN: usize = 4;

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

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("***")
    }
}

impl Grants {
    /// Replaces the secrets in a text that others will see.
    pub fn redact<'text>(&self, text: &'text str) -> Cow<'text, str> {
        let mut redacted = Cow::Borrowed(text);
        for Secret(secret) in self.secrets.values() {
            if redacted.contains(secret.as_str()) {
                redacted = Cow::Owned(redacted.replace(secret.as_str(), "***"));
            }
        }
        redacted
    }
}
