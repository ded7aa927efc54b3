//! The host's log. A job's own log, which dashboards show, is [`Job::log`](crate::Job::log).

use std::fmt::Arguments;

use crate::__internal::bindings::toril::processor::logging;

/// How much a line of the host's log matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Everything.
    Trace,
    /// For developers.
    Debug,
    /// The usual.
    Info,
    /// Something is off, work goes on.
    Warn,
    /// Something failed.
    Error,
}

#[doc(hidden)]
pub fn write(level: Level, message: Arguments<'_>) {
    let level = match level {
        Level::Trace => logging::Level::Trace,
        Level::Debug => logging::Level::Debug,
        Level::Info => logging::Level::Info,
        Level::Warn => logging::Level::Warn,
        Level::Error => logging::Level::Error,
    };
    match message.as_str() {
        Some(message) => logging::log(level, message),
        None => logging::log(level, &message.to_string()),
    }
}

/// Writes a line to the host's log at level `trace`; takes what `format!` takes.
#[macro_export]
macro_rules! trace {
    ($($part:tt)*) => {
        $crate::__internal::write($crate::Level::Trace, ::std::format_args!($($part)*))
    };
}

/// Writes a line to the host's log at level `debug`; takes what `format!` takes.
#[macro_export]
macro_rules! debug {
    ($($part:tt)*) => {
        $crate::__internal::write($crate::Level::Debug, ::std::format_args!($($part)*))
    };
}

/// Writes a line to the host's log at level `info`; takes what `format!` takes.
#[macro_export]
macro_rules! info {
    ($($part:tt)*) => {
        $crate::__internal::write($crate::Level::Info, ::std::format_args!($($part)*))
    };
}

/// Writes a line to the host's log at level `warn`; takes what `format!` takes.
#[macro_export]
macro_rules! warn {
    ($($part:tt)*) => {
        $crate::__internal::write($crate::Level::Warn, ::std::format_args!($($part)*))
    };
}

/// Writes a line to the host's log at level `error`; takes what `format!` takes.
#[macro_export]
macro_rules! error {
    ($($part:tt)*) => {
        $crate::__internal::write($crate::Level::Error, ::std::format_args!($($part)*))
    };
}
