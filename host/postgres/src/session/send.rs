//! What is sent for a statement, all of it in one round trip.

use std::sync::Arc;

use bytes::BytesMut;
use postgres_protocol::IsNull;
use postgres_protocol::message::frontend;

use super::reply::Reply;
use super::{Isolation, Session, Transaction, nul};
use crate::error::Error;
use crate::statement::{Kind, Statement};
use crate::statements::{Prepared, Statements};
use crate::value::Value;

/// What is sent around a statement, in the same round trip.
pub(super) struct Around {
    pub(super) before: Vec<String>,
    after: Option<&'static str>,
}

/// A statement that was sent.
pub(super) struct Sent {
    /// Under which the server keeps it; none where it is not kept.
    pub(super) name: Option<Arc<str>>,
    /// It was prepared before.
    pub(super) is_from_cache: bool,
}

/// What the server knows of a statement.
enum Text<'a> {
    /// Nothing.
    New(&'a str),
    /// It is prepared, and its columns are not known here.
    Undescribed,
    /// All.
    Known,
}

/// Once a transaction has looked at the database, nothing in it can make it writable.
const LOOK: &str = "SELECT 1";

impl Around {
    fn new(transaction: Transaction) -> Self {
        let (before, after) = match transaction {
            Transaction::GoesOn | Transaction::Alone { read_only: false } => (vec![], None),
            Transaction::Alone { read_only: true } => (
                vec!["BEGIN READ ONLY".to_owned(), LOOK.to_owned()],
                Some("COMMIT"),
            ),
            Transaction::Begins {
                isolation,
                read_only,
            } => {
                let level = match isolation {
                    Isolation::ReadCommitted => "READ COMMITTED",
                    Isolation::RepeatableRead => "REPEATABLE READ",
                    Isolation::Serializable => "SERIALIZABLE",
                };
                let access = if read_only { "READ ONLY" } else { "READ WRITE" };
                let mut before = vec![format!("BEGIN ISOLATION LEVEL {level} {access}")];
                before.extend(read_only.then(|| LOOK.to_owned()));
                (before, None)
            }
        };
        Around { before, after }
    }
}

impl Session {
    pub(super) fn around(&self, kind: Kind, transaction: Transaction) -> Around {
        let mut around = Around::new(transaction);
        let may_see = matches!(kind, Kind::Touching | Kind::Lasting);
        let mine = match transaction {
            // The numbers that it takes itself can be asked for later in it.
            Transaction::Begins { .. } if self.worn => "DISCARD SEQUENCES",
            Transaction::GoesOn if self.worn && may_see && !self.touched => "DEALLOCATE ALL",
            _ => return around,
        };
        around.before.push(mine.to_owned());
        around
    }

    /// Writes what is to be sent.
    pub(super) fn write(
        &mut self,
        statement: Statement<'_>,
        parameters: &[Value],
        around: &Around,
        reply: &mut Reply,
        bytes_max: usize,
    ) -> Result<Sent, Error> {
        let out = &mut self.framed.out;
        out.clear();
        let size = statement.text.len() + parameters.iter().map(Value::bytes).sum::<usize>();
        if size > bytes_max {
            return Err(Error::Limit(format!(
                "statement and parameters have {size} bytes, more than the limit of {bytes_max}"
            )));
        }
        // What a touched session did may have removed or exchanged what was prepared.
        let keeps =
            statement.kind == Kind::Plain && !self.touched && Statements::may_keep(statement.text);
        let prepared = match keeps {
            true => self.statements.get(statement.text),
            false => None,
        };
        let name = match &prepared {
            Some(prepared) => Some(Arc::clone(&prepared.name)),
            None => keeps.then(|| self.statements.new_name()),
        };
        if keeps
            && prepared.is_none()
            && let Some(oldest) = self.statements.make_room()
        {
            // Before all that can fail: what comes after an error is not carried out.
            frontend::close(b'S', &oldest, out).map_err(|_| nul())?;
        }
        for text in &around.before {
            write_statement(out, "", Text::New(text), &[])?;
        }
        let text = match &prepared {
            None => Text::New(statement.text),
            Some(Prepared { columns: None, .. }) => Text::Undescribed,
            Some(Prepared {
                columns: Some(columns),
                ..
            }) => {
                (reply.columns, reply.is_described) = (Arc::clone(columns), true);
                Text::Known
            }
        };
        write_statement(out, name.as_deref().unwrap_or_default(), text, parameters)?;
        if let Some(text) = around.after {
            write_statement(out, "", Text::New(text), &[])?;
        }
        frontend::sync(out);
        Ok(Sent {
            name,
            is_from_cache: prepared.is_some(),
        })
    }
}

/// Appends one statement: parsed where its text is given, then bound and executed. All values come back as text.
fn write_statement(
    out: &mut BytesMut,
    name: &str,
    text: Text<'_>,
    parameters: &[Value],
) -> Result<(), Error> {
    if parameters.len() > i16::MAX as usize {
        return Err(Error::Refused(format!(
            "statement has {} parameters, and Postgres accepts {} at most\nhint: pass arrays, with `unnest` or `= any($1)`",
            parameters.len(),
            i16::MAX
        )));
    }
    if let Text::New(text) = text {
        // The server infers the types of parameters, as it does for quoted literals.
        frontend::parse(name, text, [], out).map_err(|_| nul())?;
    }
    let formats = parameters.iter().map(Value::format);
    let write = |value: &Value, out: &mut BytesMut| {
        Ok(match value.written() {
            Some(bytes) => {
                out.extend_from_slice(&bytes);
                IsNull::No
            }
            None => IsNull::Yes,
        })
    };
    let bound = frontend::bind("", name, formats, parameters, write, [], out);
    bound.map_err(|_| Error::Limit("parameters are larger than Postgres accepts".into()))?;
    if !matches!(text, Text::Known) {
        frontend::describe(b'P', "", out).map_err(|_| nul())?;
    }
    frontend::execute("", 0, out).map_err(|_| nul())
}
