//! The host's log. A job's own log, which dashboards show, is [`Job::log`](crate::Job::log).

use std::fmt::Arguments;

use crate::__internal::bindings::toril::processor::logging;

/// The level of a line in the host's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Details for tracing a fault.
    Trace,
    /// Details for developers.
    Debug,
    /// Ordinary events.
    Info,
    /// Something unexpected that stops no work.
    Warn,
    /// A failure.
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

/// Writes a line to the host's log at level `trace`; the arguments are those of `format!`.
#[macro_export]
macro_rules! trace {
    ($($part:tt)*) => {
        $crate::__internal::write($crate::Level::Trace, ::std::format_args!($($part)*))
    };
}

/// Writes a line to the host's log at level `debug`; the arguments are those of `format!`.
#[macro_export]
macro_rules! debug {
    ($($part:tt)*) => {
        $crate::__internal::write($crate::Level::Debug, ::std::format_args!($($part)*))
    };
}

/// Writes a line to the host's log at level `info`; the arguments are those of `format!`.
#[macro_export]
macro_rules! info {
    ($($part:tt)*) => {
        $crate::__internal::write($crate::Level::Info, ::std::format_args!($($part)*))
    };
}

/// Writes a line to the host's log at level `warn`; the arguments are those of `format!`.
#[macro_export]
macro_rules! warn {
    ($($part:tt)*) => {
        $crate::__internal::write($crate::Level::Warn, ::std::format_args!($($part)*))
    };
}

/// Writes a line to the host's log at level `error`; the arguments are those of `format!`.
#[macro_export]
macro_rules! error {
    ($($part:tt)*) => {
        $crate::__internal::write($crate::Level::Error, ::std::format_args!($($part)*))
    };
}
