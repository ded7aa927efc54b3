//! Who writes to a job. An attempt that lost its job must not.

/// Who writes to a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writer<'a> {
    /// The attempt that holds its lock with this token.
    Holder(&'a str),
    /// The attempt that moved it, and has no lock any more: refused once another one has taken it.
    Mover,
    /// Somebody who does not run it.
    Outsider,
}

impl<'a> Writer<'a> {
    /// An attempt: with its token, or with none once it moved its job.
    pub fn attempt(token: Option<&'a str>) -> Self {
        token.map_or(Writer::Mover, Writer::Holder)
    }

    /// As `lua/lib/writer.lua` reads it.
    pub(crate) fn as_argument(self) -> &'a str {
        match self {
            Writer::Holder(token) => token,
            Writer::Mover => "",
            Writer::Outsider => "*",
        }
    }
}
