//! The last lines that a guest wrote to stderr. There a language says why it aborts.

use std::collections::VecDeque;

/// How much is kept. It is stored with the failed job.
const BYTES_MAX: usize = 4096;

/// Lines without secrets and control characters, and the one among them that says why the guest aborts.
#[derive(Default)]
pub(crate) struct LastLines {
    lines: VecDeque<String>,
    bytes: usize,
    /// Kept apart: a long stack may come after it.
    reason: Option<String>,
    awaited: Option<Awaited>,
}

/// What one of the next lines is.
#[derive(Clone, Copy)]
enum Awaited {
    /// The exception of a traceback of Python: the first line that is not indented.
    Exception,
    /// The message of a panic of Rust: the next line.
    Panic,
}

impl LastLines {
    pub(super) fn push(&mut self, line: &str) {
        let line = &line[..line.floor_char_boundary(BYTES_MAX)];
        self.note_reason(line);
        self.lines.push_back(line.to_owned());
        self.bytes += line.len() + 1;
        // No line end is needed after the last one.
        while self.bytes > BYTES_MAX + 1
            && let Some(first) = self.lines.pop_front()
        {
            self.bytes -= first.len() + 1;
        }
    }

    /// Python's reason comes after its traceback, Go's before its stacks, Rust's below the place. That of Rust is the last to
    /// count: where Python runs in a guest, the runtime around it panics after it.
    fn note_reason(&mut self, line: &str) {
        match self.awaited {
            Some(Awaited::Exception) if is_indented(line) => {}
            Some(Awaited::Exception) => self.found(line),
            Some(Awaited::Panic) if self.reason.is_none() => self.found(line),
            Some(Awaited::Panic) | None => self.awaited = None,
        }
        if line == "Traceback (most recent call last):" {
            self.awaited = Some(Awaited::Exception);
        } else if line.starts_with("panic: ") || line.starts_with("fatal error: ") {
            self.found(line);
        } else if line.starts_with("thread '") && line.contains(" panicked at ") {
            self.awaited = Some(Awaited::Panic);
        }
    }

    fn found(&mut self, line: &str) {
        self.reason = Some(line.to_owned());
        self.awaited = None;
    }

    /// The line that says why the guest aborts; none where it wrote nothing. Of other languages it is the last line that is
    /// no part of a stack.
    pub(crate) fn reason(&self) -> Option<&str> {
        let is_text = |line: &&String| !is_indented(line) && !line.ends_with(':');
        let last = || self.lines.iter().rev().find(is_text).or(self.lines.back());
        self.reason.as_ref().or_else(last).map(String::as_str)
    }

    /// The lines as one text.
    pub(crate) fn text(&self) -> String {
        Vec::from_iter(self.lines.iter().map(String::as_str)).join("\n")
    }
}

fn is_indented(line: &str) -> bool {
    line.starts_with([' ', '\t'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(text: &str) -> LastLines {
        let mut lines = LastLines::default();
        text.lines().for_each(|line| lines.push(line));
        lines
    }

    #[test]
    fn reason_is_where_the_language_says_it() {
        let python = "starting\nTraceback (most recent call last):\n  File \"app.py\", line 3, in process\n    \
             raise KeyError('a')\nKeyError: 'a'\nDuring handling of the above exception, another exception occurred:\n\
             Traceback (most recent call last):\n  File \"app.py\", line 5, in process\n    raise ValueError(text)\n\
             ValueError: bad\nand the rest of it\nthread '<unnamed>' (1) panicked at src/lib.rs:3:5:\nPython threw\n\
             note: run with `RUST_BACKTRACE=1`";
        let go = "2026/01/01 starting\npanic: runtime error: index out of range [5] with length 3\n\
             goroutine 1 [running]:\nmain.process(...)\n\t/app/main.go:12\nexit status 2";
        let rust = "thread 'main' (1) panicked at src/lib.rs:3:5:\nthe roof is on fire\n\
             note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace";
        let js = "Error: bad\nStack:\n  process@app.js:3:5\n  main@app.js:9:1";
        for (text, reason) in [
            (python, "ValueError: bad"),
            (
                go,
                "panic: runtime error: index out of range [5] with length 3",
            ),
            (
                "fatal error: all goroutines are asleep - deadlock!",
                "fatal error: all goroutines are asleep - deadlock!",
            ),
            (rust, "the roof is on fire"),
            (js, "Error: bad"),
            (
                "step 1\nAssertion failed: walls > 0 (paint.c: paint: 7)",
                "Assertion failed: walls > 0 (paint.c: paint: 7)",
            ),
            ("  all\n  indented:", "  indented:"),
        ] {
            assert_eq!(after(text).reason(), Some(reason));
        }
        assert_eq!(after("").reason(), None);
    }

    #[test]
    fn end_is_kept_and_the_reason_however_far_above_it_is() {
        let mut lines = after("panic: deep");
        for frame in 0..1000 {
            lines.push(&format!("\t/app/main.go:{frame}"));
        }
        let text = lines.text();
        assert!(text.len() <= BYTES_MAX && text.ends_with("main.go:999"));
        assert_eq!(lines.reason(), Some("panic: deep"));
        lines.push(&"ä".repeat(BYTES_MAX));
        assert_eq!(lines.text(), "ä".repeat(BYTES_MAX / 2));
    }
}
