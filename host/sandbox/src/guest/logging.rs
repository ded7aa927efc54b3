//! `toril:processor/logging`.

use tracing::Level as TracingLevel;

use super::AttemptState;
use super::output::LOGGED;
use crate::bindings::toril::processor::logging::{Host, Level};

impl Host for AttemptState {
    fn log(&mut self, level: Level, message: String) -> wasmtime::Result<()> {
        let level = match level {
            Level::Trace => TracingLevel::TRACE,
            Level::Debug => TracingLevel::DEBUG,
            Level::Info => TracingLevel::INFO,
            Level::Warn => TracingLevel::WARN,
            Level::Error => TracingLevel::ERROR,
        };
        let message = self.policy.grants.secrets.redact(&message);
        self.log_budget.redacted_text(level, LOGGED, &message);
        self.current.backend.logged(level, &message);
        Ok(())
    }

    fn fatal(&mut self, message: String) -> wasmtime::Result<()> {
        self.current.last_words = Some(message).filter(|message| !message.is_empty());
        Ok(())
    }
}
