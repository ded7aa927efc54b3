//! One connection to Postgres: statements, each with one round trip, and the state that the server says it is in.

mod reply;
mod reset;
mod send;

use std::sync::Arc;
use std::time::Duration;

use postgres_protocol::message::backend::Message;
use tokio::time::{Instant, timeout, timeout_at};

use crate::connect::{Connector, Key};
use crate::error::{Error, ServerError};
use crate::framed::{Framed, MESSAGE_BYTES_MAX};
use crate::statement::{Kind, Statement};
use crate::statements::{Prepared, Statements};
use crate::value::Value;
use reply::Reply;
use send::Sent;

/// How long a server may take to end a statement that it was asked to cancel.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(1);
/// The first wait for that where nobody waits for the statement; each further one is twice as long.
const CANCEL_FIRST: Duration = Duration::from_millis(30);

/// Columns of one statement that a session remembers.
const COLUMNS_KEPT_MAX: usize = 100;

/// A column of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name, which need not be the only one.
    pub name: String,
    /// The name of its type in Postgres; `oid 12345` for one that the database made.
    pub type_name: String,
    pub(crate) oid: u32,
}

/// The answer to a statement.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows {
    /// None where the statement returns no rows.
    pub columns: Arc<[Column]>,
    /// A value for each column.
    pub rows: Vec<Vec<Value>>,
    /// Rows that were read, added, changed or removed, as the server counts them.
    pub affected: u64,
}

/// What an answer may be.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Rows.
    pub rows_max: usize,
    /// Bytes of all rows as they are held; parameters and the statement may have as many.
    pub bytes_max: usize,
    /// When the statement is cancelled.
    pub until: Instant,
}

/// How a transaction sees others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the words of SQL")]
pub enum Isolation {
    #[default]
    ReadCommitted,
    RepeatableRead,
    Serializable,
}

/// How a statement stands to a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transaction {
    /// It is one by itself.
    Alone {
        /// Its transaction may change nothing.
        read_only: bool,
    },
    /// It is the first one of a transaction, which begins with it.
    Begins {
        /// How it sees others.
        isolation: Isolation,
        /// It may change nothing.
        read_only: bool,
    },
    /// It is a further one.
    GoesOn,
}

/// What the server last said of the transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Idle,
    Open,
    Failed,
}

/// One connection.
pub struct Session {
    framed: Framed,
    connector: Connector,
    key: Key,
    pub(crate) born: Instant,
    pub(crate) status: Status,
    /// Something may be left of its user: settings, locks, temporary tables.
    pub(crate) touched: bool,
    /// Statements of others were prepared in it or took numbers from sequences, which can be seen in it.
    worn: bool,
    /// A statement is under way, or the exchange broke off: nothing can be sent.
    pub(crate) busy: bool,
    /// Not to be used again.
    pub(crate) retires: bool,
    statements: Statements,
}

impl Session {
    pub(crate) async fn connect(connector: &Connector) -> Result<Self, Error> {
        let (framed, key) = connector.connect().await?;
        Ok(Session {
            framed,
            connector: connector.clone(),
            key,
            born: Instant::now(),
            status: Status::Idle,
            touched: false,
            worn: false,
            busy: false,
            retires: false,
            statements: Statements::default(),
        })
    }

    /// True if a transaction is open.
    pub fn in_transaction(&self) -> bool {
        self.status != Status::Idle
    }

    /// True if something of the session's user may be left in it.
    pub fn is_touched(&self) -> bool {
        self.touched
    }

    /// True if nothing can be sent any more.
    pub fn is_broken(&self) -> bool {
        self.busy
    }

    /// Carries out one statement. If this future is dropped, the session is of no further use.
    pub async fn run(
        &mut self,
        statement: Statement<'_>,
        parameters: &[Value],
        transaction: Transaction,
        bounds: &Bounds,
    ) -> Result<Rows, Error> {
        refuse_kind(statement.kind)?;
        if transaction == Transaction::GoesOn && self.status == Status::Idle {
            return Err(Error::Refused("transaction is no longer open".into()));
        }
        self.unwear(statement.kind, bounds.until).await?;
        let (mut result, is_stale) = self
            .try_run(statement, parameters, transaction, bounds)
            .await;
        if is_stale {
            // The plan of a statement that was prepared does not fit any more; nothing of it was carried out.
            self.statements.clear();
            self.touched = true;
            if transaction != Transaction::GoesOn {
                self.end("ROLLBACK", Instant::now() + CANCEL_TIMEOUT)
                    .await?;
                (result, _) = self
                    .try_run(statement, parameters, transaction, bounds)
                    .await;
            }
        }
        let alone = matches!(transaction, Transaction::Alone { .. });
        if alone && !self.busy {
            self.end("ROLLBACK", Instant::now() + CANCEL_TIMEOUT)
                .await?;
        }
        result
    }

    /// Also says whether the statement had been prepared, and does not fit any more.
    async fn try_run(
        &mut self,
        statement: Statement<'_>,
        parameters: &[Value],
        transaction: Transaction,
        bounds: &Bounds,
    ) -> (Result<Rows, Error>, bool) {
        let around = self.around(statement.kind, transaction);
        let began = Instant::now();
        let mut reply = Reply::new(around.before.len(), bounds);
        reply.goes_back = statement.kind == Kind::RollbackTo;
        let bytes_max = bounds.bytes_max;
        let sent = match self.write(statement, parameters, &around, &mut reply, bytes_max) {
            Ok(sent) => sent,
            Err(error) => return (Err(error), false),
        };
        self.touched |= matches!(statement.kind, Kind::Touching | Kind::Lasting);
        self.retires |= statement.kind == Kind::Lasting;
        self.worn = true;
        let exchanged = self.exchange(&mut reply, began, bounds.until).await;
        self.keep(statement.text, &sent, &reply);
        let is_stale =
            sent.is_from_cache && !reply.is_bound && reply.error.as_deref().is_some_and(is_stale);
        let result = exchanged
            .and_then(|()| self.expect_status(transaction, &reply))
            .and_then(|()| reply.into_rows());
        (result, is_stale)
    }

    /// The server keeps a statement that it has parsed, also if carrying it out failed.
    fn keep(&mut self, text: &str, sent: &Sent, reply: &Reply) {
        let Some(name) = &sent.name else { return };
        if sent.is_from_cache || reply.is_parsed {
            // Very many columns are described each time: a session keeps many statements.
            let is_kept = reply.is_described && reply.columns.len() <= COLUMNS_KEPT_MAX;
            let columns = is_kept.then(|| Arc::clone(&reply.columns));
            let name = Arc::clone(name);
            self.statements.keep(text, Prepared { name, columns });
        }
    }

    /// Whether a transaction is open is for the caller to say, so that a session which disagrees is closed.
    fn expect_status(&mut self, transaction: Transaction, reply: &Reply) -> Result<(), Error> {
        let expected = match transaction {
            Transaction::Alone { .. } => Status::Idle,
            Transaction::Begins { .. } | Transaction::GoesOn => Status::Open,
        };
        if reply.error.is_none() && self.status != expected {
            self.busy = true;
            return Err(Error::Refused(TRANSACTION_CONTROL.into()));
        }
        Ok(())
    }

    /// Sends what was written and reads the answer, until it must have come; then the statement is cancelled.
    async fn exchange(
        &mut self,
        reply: &mut Reply,
        began: Instant,
        until: Instant,
    ) -> Result<(), Error> {
        let timed_out = || Error::TimedOut(until.duration_since(began).as_millis());
        self.busy = true;
        match timeout_at(until, self.framed.send()).await {
            Ok(sent) => sent.map_err(|error| Error::lost(&error))?,
            Err(_) => return Err(timed_out()),
        }
        if let Ok(received) = timeout_at(until, self.receive(reply)).await {
            return received;
        }
        let cancelled = async {
            self.connector.cancel(self.key).await?;
            self.receive(reply).await
        };
        match timeout(CANCEL_TIMEOUT, cancelled).await {
            Ok(Ok(())) => {}
            _ => return Err(timed_out()),
        }
        // It may have ended in that moment, or failed by itself.
        match &reply.error {
            Some(error) if error.code == ServerError::CANCELLED => Err(timed_out()),
            _ => {
                // The request may still be on its way, and would meet the next statement.
                self.retires = true;
                Ok(())
            }
        }
    }

    /// Reads to the end of an answer. May be dropped and called again.
    async fn receive(&mut self, reply: &mut Reply) -> Result<(), Error> {
        loop {
            let message = self.framed.next(reply.row_bytes_max()).await;
            let message = message.map_err(|error| reply.not_read(error))?;
            match reply.take(message)? {
                reply::Next::Message => {}
                reply::Next::Setting => self.touched = true,
                reply::Next::End(status) => {
                    (self.status, self.busy) = (status, false);
                    return Ok(());
                }
            }
        }
    }

    /// Ends the transaction. An error says that it was rolled back, except for one of a lost connection, after which that is
    /// not known.
    pub async fn commit(&mut self, until: Instant) -> Result<(), Error> {
        let failed = self.status == Status::Failed;
        self.end("COMMIT", until).await?;
        match failed {
            true => Err(Error::Refused(
                "transaction was rolled back, because one of its statements had failed".into(),
            )),
            false => Ok(()),
        }
    }

    /// Takes back what the transaction did.
    pub async fn roll_back(&mut self, until: Instant) -> Result<(), Error> {
        self.end("ROLLBACK", until).await
    }

    async fn end(&mut self, command: &str, until: Instant) -> Result<(), Error> {
        if self.status == Status::Idle {
            return Ok(());
        }
        self.simple(&[command], until).await
    }

    /// True if the server said nothing since the last answer, as it does when it closes the connection.
    pub(crate) fn is_quiet(&mut self) -> bool {
        self.framed.is_quiet()
    }

    /// Ends the connection. A statement that is under way is cancelled: the server would not see that nobody waits for it.
    pub(crate) async fn close(mut self) {
        let mut wait = CANCEL_FIRST;
        while self.busy && wait < CANCEL_TIMEOUT {
            // One that comes before the server has begun the statement changes nothing, so that it is sent again.
            let ended = async {
                self.connector.cancel(self.key).await?;
                self.drain().await;
                Ok::<_, Error>(())
            };
            match timeout(wait, ended).await {
                Ok(Ok(())) => break,
                Ok(Err(_)) | Err(_) => wait *= 2,
            }
        }
        self.end_now();
    }

    /// Reads to the end of an answer that nobody wants, or to a message that is too long to be read.
    async fn drain(&mut self) {
        while let Ok(message) = self.framed.next(MESSAGE_BYTES_MAX).await {
            if let Message::ReadyForQuery(_) = message {
                return;
            }
        }
    }

    pub(crate) fn end_now(&mut self) {
        if !self.busy {
            self.framed.terminate();
        }
    }
}

const TRANSACTION_CONTROL: &str = "a statement must not begin or end a transaction\nhint: call `begin`, then `commit` or `rollback`";
const LISTEN: &str = "LISTEN is not supported: a job cannot receive notifications";

fn refuse_kind(kind: Kind) -> Result<(), Error> {
    let reason = match kind {
        Kind::Plain | Kind::Touching | Kind::Lasting | Kind::RollbackTo => return Ok(()),
        Kind::TransactionControl => TRANSACTION_CONTROL,
        Kind::Copy => {
            "COPY is not supported: there is no stream for its rows\nhint: insert several rows with one statement, from arrays with `unnest`"
        }
        Kind::Listen => LISTEN,
    };
    Err(Error::Refused(reason.into()))
}

/// A table was changed since, or somebody between us and the server forgot the statement.
fn is_stale(error: &ServerError) -> bool {
    let routine = error.routine.as_deref().unwrap_or_default();
    error.code == "26000" || (error.code == "0A000" && routine == "RevalidateCachedQuery")
}

fn nul() -> Error {
    Error::Refused("statement contains a NUL, which SQL does not allow".into())
}
