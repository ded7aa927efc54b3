//! What a guest prints: lines in the host's log, counted and stripped of control characters. The last ones on stderr are
//! kept until the attempt ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use tracing::Level;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use super::last_lines::LastLines;
use crate::backend::{JobView, ShowCall};
use crate::limits::Limits;
use crate::policy::{Grants, Policy};

/// The source of lines that a guest logs. The backend hears of them.
pub(super) const LOGGED: &str = "log";
/// Longer lines are cut: one line of the log stays one line.
const LINE_BYTES_MAX: usize = 4096;

/// Writes the lines of one attempt to the host's log, up to a number of them.
#[derive(Clone)]
pub(crate) struct LogBudget(Arc<Budget>);

struct Budget {
    queue: Arc<str>,
    job_id: Mutex<Arc<str>>,
    lines_left: AtomicU32,
    bytes_left: AtomicU64,
    grants: Arc<Grants>,
    on_stderr: Mutex<LastLines>,
    /// Hears of each line, besides the log.
    shown: Mutex<Option<ShowCall>>,
}

impl LogBudget {
    pub(crate) fn new(job: &JobView, shown: Option<ShowCall>, policy: &Policy) -> Self {
        LogBudget(Arc::new(Budget {
            queue: Arc::clone(job.queue),
            job_id: Mutex::new(Arc::clone(job.id)),
            lines_left: AtomicU32::new(policy.limits.log_lines_max),
            bytes_left: AtomicU64::new(policy.limits.log_bytes_max),
            grants: Arc::clone(&policy.grants),
            on_stderr: Mutex::default(),
            shown: Mutex::new(shown),
        }))
    }

    /// Begins the log of the next job.
    pub(super) fn renew(&self, job_id: &Arc<str>, shown: Option<ShowCall>, limits: &Limits) {
        *self.job_id() = Arc::clone(job_id);
        *self.0.shown.lock() = shown;
        self.take_last_lines();
        let Budget {
            lines_left,
            bytes_left,
            ..
        } = &*self.0;
        lines_left.store(limits.log_lines_max, Ordering::Relaxed);
        bytes_left.store(limits.log_bytes_max, Ordering::Relaxed);
    }

    /// What came on stderr last.
    pub(super) fn take_last_lines(&self) -> LastLines {
        std::mem::take(&mut self.0.on_stderr.lock())
    }

    fn job_id(&self) -> MutexGuard<'_, Arc<str>> {
        self.0.job_id.lock()
    }

    /// Takes the bytes of a line. False: there are not so many left.
    pub(super) fn take_bytes(&self, bytes: usize) -> bool {
        let take = |left: u64| left.checked_sub(bytes as u64);
        let left = &self.0.bytes_left;
        left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .is_ok()
    }

    fn take_line(&self, bytes: usize) -> bool {
        let take = |left: u32| left.checked_sub(1);
        let left = &self.0.lines_left;
        let taken = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        let Ok(left) = taken else { return false };
        let fits = self.take_bytes(bytes);
        if left == 1 || !fits {
            self.0.lines_left.store(0, Ordering::Relaxed);
            tracing::warn!(
                queue = &*self.0.queue,
                job_id = &**self.job_id(),
                "job reached its limit of log lines or bytes; the host drops further ones"
            );
        }
        fits
    }

    /// Writes a text that has no secrets in it, a line at a time, until the limit is reached.
    pub(super) fn redacted_text(&self, level: Level, source: &str, text: &str) {
        for line in lines_of(text) {
            if !self.clean_line(level, source, &clean(line)) {
                return;
            }
        }
    }

    /// False: the limit is reached.
    fn clean_line(&self, level: Level, source: &str, line: &str) -> bool {
        if !self.take_line(line.len()) {
            return false;
        }
        if source != LOGGED
            && let Some(show) = &*self.0.shown.lock()
        {
            show(&format!("{source}: {line}"));
        }
        let (queue, job_id) = (&*self.0.queue, &**self.job_id());
        match level {
            Level::ERROR => tracing::error!(target: "guest", queue, job_id, source, "{line}"),
            Level::WARN => tracing::warn!(target: "guest", queue, job_id, source, "{line}"),
            Level::INFO => tracing::info!(target: "guest", queue, job_id, source, "{line}"),
            Level::DEBUG => tracing::debug!(target: "guest", queue, job_id, source, "{line}"),
            _ => tracing::trace!(target: "guest", queue, job_id, source, "{line}"),
        }
        true
    }
}

/// The lines of a text. One that is empty has one line.
fn lines_of(text: &str) -> impl Iterator<Item = &str> {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.split('\n')
        .map(|line| line.strip_suffix('\r').unwrap_or(line))
}

/// Cuts a line and replaces control characters, which could forge lines or steer a terminal.
fn clean(line: &str) -> String {
    let end = line.floor_char_boundary(LINE_BYTES_MAX);
    line[..end]
        .chars()
        .map(|c| {
            if c.is_control() && c != '\t' {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

/// What a guest prints to.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Printed {
    Stdout,
    Stderr,
}

impl Printed {
    fn name(self) -> &'static str {
        match self {
            Printed::Stdout => "stdout",
            Printed::Stderr => "stderr",
        }
    }
}

/// Stdout or stderr of one guest.
#[derive(Clone)]
pub(crate) struct GuestOutput {
    to: Printed,
    log: LogBudget,
    /// What may be the beginning of a secret.
    held: Vec<u8>,
    /// The line begun. Only what is encoded in it may still be a secret.
    line: Vec<u8>,
}

impl GuestOutput {
    pub(crate) fn new(to: Printed, log: LogBudget) -> Self {
        GuestOutput {
            to,
            log,
            held: Vec::new(),
            line: Vec::new(),
        }
    }

    /// Takes in what the guest wrote. Secrets are replaced before the text is split: one may span lines, and a
    /// cut line must not end with the beginning of one.
    fn take(&mut self, bytes: &[u8], at_end: bool) {
        let redactor = self.log.0.grants.secrets.redactor().map(Arc::clone);
        match redactor {
            None => self.split(bytes),
            Some(redactor) => {
                self.held.extend_from_slice(bytes);
                let mut shown = Vec::with_capacity(self.held.len());
                redactor.drain(&mut self.held, at_end, &mut shown);
                self.split(&shown);
            }
        }
    }

    fn split(&mut self, bytes: &[u8]) {
        let mut lines = bytes.split(|byte| *byte == b'\n').peekable();
        while let Some(part) = lines.next() {
            let room = self.line_bytes_max().saturating_sub(self.line.len());
            self.line.extend_from_slice(&part[..part.len().min(room)]);
            if lines.peek().is_some() {
                self.end_line();
            }
        }
    }

    /// A line is cut when it is shown. Before that it keeps enough to find an encoded secret that begins before the cut.
    fn line_bytes_max(&self) -> usize {
        let redactor = self.log.0.grants.secrets.redactor();
        LINE_BYTES_MAX + redactor.map_or(0, |redactor| redactor.encoded_bytes_max())
    }

    fn end_line(&mut self) {
        if !self.line.is_empty() {
            let line = String::from_utf8_lossy(&self.line);
            let line = clean(&self.log.0.grants.secrets.redact(&line));
            if self.to == Printed::Stderr {
                self.log.0.on_stderr.lock().push(&line);
            }
            self.log.clean_line(Level::INFO, self.to.name(), &line);
            self.line.clear();
        }
    }
}

impl Drop for GuestOutput {
    fn drop(&mut self) {
        self.take(&[], true);
        self.end_line();
    }
}

impl IsTerminal for GuestOutput {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for GuestOutput {
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        // Only WASI 0.3 asks for this, which is not linked.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for GuestOutput {
    async fn ready(&mut self) {}
}

impl OutputStream for GuestOutput {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.take(&bytes, false);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(64 * 1024)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_one_line_or_more() {
        let lines = |text: &'static str| lines_of(text).collect::<Vec<_>>();
        assert_eq!(
            lines("Error: a\r\n    at b\n\nc\n"),
            ["Error: a", "    at b", "", "c"]
        );
        assert_eq!((lines(""), lines("\n")), (vec![""], vec![""]));
    }

    #[test]
    fn control_characters_do_not_reach_the_log() {
        assert_eq!(clean("a\x1b[2Jb\tc\r"), "a\u{fffd}[2Jb\tc\u{fffd}");
        assert_eq!(clean(&"ä".repeat(4000)).len(), LINE_BYTES_MAX);
    }
}
