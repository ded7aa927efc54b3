//! The answer of the server to what was sent with one round trip, within bounds.

use std::io;
use std::sync::Arc;

use fallible_iterator::FallibleIterator as _;
use postgres_protocol::message::backend::{DataRowBody, Message, RowDescriptionBody};

use super::{Bounds, Column, LISTEN, Rows, Status, TRANSACTION_CONTROL};
use crate::error::{Error, ServerError};
use crate::framed::{MESSAGE_BYTES_MAX, NotRead};
use crate::value::{Value, elements_max, type_name};

/// What a row takes beside its values.
const ROW_BYTES: usize = size_of::<Vec<Value>>();
/// What a value takes beside its bytes.
const VALUE_BYTES: usize = size_of::<Value>();
/// What an element of an array takes while it is read: a text of its own.
const ELEMENT_BYTES: usize = 48;

/// What came so far.
pub(super) struct Reply {
    /// Statements before the one whose answer counts.
    before: usize,
    rows_max: usize,
    bytes_max: usize,
    bytes_left: usize,
    pub(super) columns: Arc<[Column]>,
    rows: Vec<Vec<Value>>,
    affected: u64,
    pub(super) error: Option<Box<ServerError>>,
    /// The server keeps the statement under its name.
    pub(super) is_parsed: bool,
    /// It began to carry it out.
    pub(super) is_bound: bool,
    /// The columns are known.
    pub(super) is_described: bool,
    /// The statement goes back to a savepoint, which is answered as the end of a transaction is.
    pub(super) goes_back: bool,
    /// A value that could not be read: the rest is read nevertheless, so that the session stays of use.
    unreadable: Option<String>,
}

/// What a message was.
pub(super) enum Next {
    Message,
    /// A setting of the session has changed.
    Setting,
    /// The last one.
    End(Status),
}

impl Reply {
    pub(super) fn new(before: usize, bounds: &Bounds) -> Self {
        Reply {
            before,
            rows_max: bounds.rows_max,
            bytes_max: bounds.bytes_max,
            bytes_left: bounds.bytes_max,
            columns: Arc::new([]),
            rows: Vec::new(),
            affected: 0,
            error: None,
            is_parsed: false,
            is_bound: false,
            is_described: false,
            goes_back: false,
            unreadable: None,
        }
    }

    fn counts(&self) -> bool {
        self.before == 0
    }

    /// What the next row may have. Those of our own statements are small.
    pub(super) fn row_bytes_max(&self) -> usize {
        // Lengths of values, which the limit does not count.
        self.bytes_left.saturating_add(16 * 1024)
    }

    pub(super) fn not_read(&self, error: NotRead) -> Error {
        match error {
            NotRead::Io(error) | NotRead::Invalid(error) => Error::lost(&error),
            NotRead::RowTooLong(bytes) => Error::Limit(format!(
                "Postgres answered with a row of {bytes} bytes, more than the limit of {} (`bytes_max`)",
                self.bytes_max
            )),
            // An error, a notice or a description of columns: no setting changes this limit.
            NotRead::TooLong(bytes) => Error::Limit(format!(
                "Postgres answered with a message of {bytes} bytes that is not a row, more than the limit of {MESSAGE_BYTES_MAX} for such a message"
            )),
        }
    }

    pub(super) fn take(&mut self, message: Message) -> Result<Next, Error> {
        match message {
            Message::ParseComplete if self.counts() => self.is_parsed = true,
            Message::BindComplete if self.counts() => self.is_bound = true,
            Message::NoData if self.counts() => self.is_described = true,
            Message::RowDescription(body) if self.counts() => {
                self.describe(&body)?;
                self.is_described = true;
            }
            Message::DataRow(body) if self.counts() => self.add(&body)?,
            Message::CommandComplete(body) => {
                if self.counts() {
                    self.judge(body.tag().unwrap_or_default())?;
                    let count = body.tag().ok().and_then(|tag| tag.rsplit(' ').next());
                    let count = count.and_then(|count| count.parse().ok());
                    self.affected = count.unwrap_or_default();
                }
                // Of those that come after it nothing counts, either.
                self.before = self.before.wrapping_sub(1);
            }
            Message::EmptyQueryResponse => self.before = self.before.wrapping_sub(1),
            Message::ErrorResponse(body) => {
                let error = Box::new(ServerError::read(&body));
                self.error.get_or_insert(error);
            }
            Message::ParameterStatus(_) => return Ok(Next::Setting),
            Message::ReadyForQuery(body) => {
                return Ok(Next::End(match body.status() {
                    b'I' => Status::Idle,
                    b'T' => Status::Open,
                    _ => Status::Failed,
                }));
            }
            Message::CopyInResponse(_) | Message::CopyOutResponse(_) | Message::CopyData(_) => {
                return Err(Error::Refused("COPY is not supported".into()));
            }
            _ => {}
        }
        Ok(Next::Message)
    }

    /// What the server says it did counts, whatever the text seemed to be. After an error the session is closed, so that
    /// nothing comes of it.
    fn judge(&self, tag: &str) -> Result<(), Error> {
        let reason = match tag {
            "BEGIN" | "START TRANSACTION" | "COMMIT" | "PREPARE TRANSACTION" => TRANSACTION_CONTROL,
            "ROLLBACK" if !self.goes_back => TRANSACTION_CONTROL,
            "LISTEN" => LISTEN,
            _ => return Ok(()),
        };
        Err(Error::Refused(reason.into()))
    }

    fn describe(&mut self, body: &RowDescriptionBody) -> Result<(), Error> {
        let mut columns = Vec::new();
        let mut fields = body.fields();
        while let Some(field) = fields.next().map_err(|error| Error::lost(&error))? {
            let column = Column {
                name: field.name().to_owned(),
                type_name: type_name(field.type_oid()).into_owned(),
                oid: field.type_oid(),
            };
            self.count(size_of::<Column>() + column.name.len() + column.type_name.len())?;
            columns.push(column);
        }
        self.columns = columns.into();
        Ok(())
    }

    fn add(&mut self, body: &DataRowBody) -> Result<(), Error> {
        if self.rows.len() >= self.rows_max {
            return Err(Error::Limit(format!(
                "answer has more than {} rows (`rows_max`)",
                self.rows_max
            )));
        }
        let columns = Arc::clone(&self.columns);
        let mut ranges = body.ranges();
        // A value for each column; a server that has another number of them means other columns.
        if ranges.size_hint().0 != columns.len() {
            let error = io::Error::new(
                io::ErrorKind::InvalidData,
                "row has not a value for each column",
            );
            return Err(Error::lost(&error));
        }
        self.count(ROW_BYTES + columns.len() * VALUE_BYTES)?;
        let mut row = Vec::with_capacity(columns.len());
        for column in &*columns {
            let range = ranges.next().map_err(|error| Error::lost(&error))?;
            let value = match range.flatten() {
                Some(range) => self.value(column, &body.buffer()[range])?,
                None => Value::Null,
            };
            row.push(value);
        }
        self.rows.push(row);
        Ok(())
    }

    fn value(&mut self, column: &Column, text: &[u8]) -> Result<Value, Error> {
        let elements = elements_max(column.oid, text);
        self.count(text.len() + elements * ELEMENT_BYTES)?;
        Ok(Value::read(column.oid, text).unwrap_or_else(|| {
            self.unreadable.get_or_insert_with(|| column.name.clone());
            Value::Null
        }))
    }

    fn count(&mut self, bytes: usize) -> Result<(), Error> {
        let left = self.bytes_left.checked_sub(bytes);
        self.bytes_left = left.ok_or_else(|| {
            Error::Limit(format!(
                "answer has more than {} bytes (`bytes_max`)",
                self.bytes_max
            ))
        })?;
        Ok(())
    }

    pub(super) fn into_rows(self) -> Result<Rows, Error> {
        if let Some(error) = self.error {
            return Err(Error::Server(error));
        }
        if let Some(column) = self.unreadable {
            return Err(Error::Refused(format!(
                "a value of column `{column}` cannot be read: it is not UTF-8, or a setting of the session changes its format"
            )));
        }
        Ok(Rows {
            columns: self.columns,
            rows: self.rows,
            affected: self.affected,
        })
    }
}
