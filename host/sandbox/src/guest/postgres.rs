//! `toril:postgres`: statements of a guest, on connections of its queue, as far as they were granted.
//!
//! What a guest holds are numbers. The connections are here, so that all of them go back when the attempt ends, whatever its
//! instance does afterwards.

mod taped;
mod values;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use toril_postgres::{Bounds, Error, Isolation, Lease, Pool, Rows, Statement, Transaction, Value};
use wasmtime::component::Resource;

use self::taped::Sent;
use super::AttemptState;
use crate::bindings::postgres::toril::postgres::client as raw;
use crate::policy::PostgresGrant;
use crate::policy::postgres::denied;

/// The handle of a granted database.
#[allow(unreachable_pub, reason = "it is in what is generated")]
pub struct ConnectionHandle {
    database: Arc<Database>,
    number: u32,
}

/// The handle of a transaction.
#[allow(unreachable_pub, reason = "it is in what is generated")]
pub struct TransactionHandle {
    database: Arc<Database>,
    number: u32,
    /// How it begins.
    begins: Transaction,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    New,
    Begun,
    Ended,
}

struct Database {
    name: String,
    grant: PostgresGrant,
    /// None where the attempt only runs again.
    pool: Option<Pool>,
}

/// What one attempt has of Postgres.
#[derive(Default)]
pub(super) struct Sessions {
    held: Held<Lease>,
    /// Statements so far, by the database.
    statements: BTreeMap<String, u32>,
    last_number: u32,
}

/// Connections that an attempt keeps, by the number of the handle, each with the name of its database.
struct Held<L>(BTreeMap<u32, (String, L)>);

impl<L> Default for Held<L> {
    fn default() -> Self {
        Held(BTreeMap::new())
    }
}

impl<L> Held<L> {
    fn count(&self, database: &str) -> usize {
        let of_it = |(name, _): &&(String, L)| name == database;
        self.0.values().filter(of_it).count()
    }

    fn get(&self, number: u32) -> Option<&L> {
        self.0.get(&number).map(|(_, lease)| lease)
    }

    fn insert(&mut self, number: u32, database: &str, lease: L) {
        self.0.insert(number, (database.to_owned(), lease));
    }

    fn remove(&mut self, number: u32) -> Option<L> {
        self.0.remove(&number).map(|(_, lease)| lease)
    }
}

type Answer<T> = wasmtime::Result<Result<T, raw::Error>>;

impl AttemptState {
    fn database(&self, name: &str) -> Result<Database, Box<raw::Error>> {
        let queue = || self.current.backend.job().queue.to_string();
        let Some(grant) = self.policy.grants.postgres.get(name) else {
            self.note(|queue| denied(name, queue));
            let refused = raw::Error::Denied(denied(name, &queue()));
            return Err(refused.into());
        };
        if self.current.tape.is_replay() {
            return Ok(Database {
                name: name.to_owned(),
                grant: grant.clone(),
                pool: None,
            });
        }
        if self.current.backend.http_answers().is_some() {
            let unreachable = raw::Error::Unavailable(format!(
                "a test reaches no server, so there is no database `{name}`\nhint: `toril run --queue {}` reaches it",
                queue()
            ));
            return Err(unreachable.into());
        }
        let pool = self.policy.connections.postgres(name, || grant.pool());
        Ok(Database {
            name: name.to_owned(),
            grant: grant.clone(),
            pool: Some(pool.map_err(|error| Box::new(raw::Error::Refused(error)))?),
        })
    }

    /// Until when a statement may take, and until when it may wait for a connection: so that its guest can still say why.
    fn times(&self, grant: &PostgresGrant) -> (tokio::time::Instant, tokio::time::Instant) {
        let now = Instant::now();
        let until =
            (now + Duration::from_millis(grant.statement_timeout_ms)).min(self.current.ends);
        let margin = until.saturating_duration_since(now) / 10;
        let waits = until - margin.min(Duration::from_millis(500));
        (until.into(), waits.into())
    }

    fn count_statement(&mut self, database: &Database) -> Result<(), Error> {
        let count = self
            .sessions
            .statements
            .entry(database.name.clone())
            .or_default();
        *count += 1;
        let max = database.grant.statements_max;
        if *count > max {
            return Err(Error::Limit(format!(
                "processor exceeded its limit of {max} statements (`statements_max`)"
            )));
        }
        Ok(())
    }

    /// The connection that the handle keeps, or another one.
    async fn lease(&mut self, database: &Database, number: u32) -> Result<Lease, Error> {
        if let Some(lease) = self.sessions.held.remove(number) {
            return Ok(lease);
        }
        let max = database.grant.attempt_connections_max;
        if self.sessions.held.count(&database.name) >= max as usize {
            return Err(Error::Limit(format!(
                "processor already holds {max} connections to this database, which is its limit (`attempt_connections_max`)"
            )));
        }
        let (_, waits) = self.times(&database.grant);
        match &database.pool {
            Some(pool) => pool.take(waits).await,
            None => Err(Error::Refused("a replay reaches no server".into())),
        }
    }

    async fn run(
        &mut self,
        database: &Database,
        number: u32,
        transaction: Transaction,
        (statement, parameters): (String, Vec<raw::Value>),
    ) -> Result<Rows, Error> {
        self.count_statement(database)?;
        let parameters: Vec<Value> = parameters.into_iter().map(Value::from).collect();
        let mut lease = self.lease(database, number).await?;
        let bounds = Bounds {
            rows_max: database.grant.rows_max,
            bytes_max: database.grant.bytes_max,
            until: self.times(&database.grant).0,
        };
        let statement = Statement::new(&statement);
        let result = lease
            .run(statement, &parameters, transaction, &bounds)
            .await;
        if !lease.is_broken() && (lease.in_transaction() || lease.is_touched()) {
            self.sessions.held.insert(number, &database.name, lease);
        }
        result
    }

    async fn run_alone(
        &mut self,
        this: &Resource<ConnectionHandle>,
        sent: (String, Vec<raw::Value>),
    ) -> Answer<raw::Rows> {
        let handle = self.table.get(this)?;
        let (database, number) = (Arc::clone(&handle.database), handle.number);
        let call = Sent::statement(&database.name, &sent);
        if let Some(answer) = self.taped_before(&call).await {
            return Ok(answer);
        }
        let read_only = database.grant.read_only;
        let alone = Transaction::Alone { read_only };
        let result = self.run(&database, number, alone, sent).await;
        self.taped(&call, result.map(raw::Rows::from))
    }

    async fn run_in_transaction(
        &mut self,
        this: &Resource<TransactionHandle>,
        sent: (String, Vec<raw::Value>),
    ) -> Answer<raw::Rows> {
        let handle = self.table.get(this)?;
        let (database, number) = (Arc::clone(&handle.database), handle.number);
        let (begins, stage) = (handle.begins, handle.stage);
        let call = Sent::statement(&database.name, &sent);
        if let Some(answer) = self.taped_before(&call).await {
            return Ok(answer);
        }
        let transaction = match stage {
            Stage::New => begins,
            Stage::Begun => Transaction::GoesOn,
            Stage::Ended => return Ok(Err(ended())),
        };
        let result = self.run(&database, number, transaction, sent).await;
        let is_open = self
            .sessions
            .held
            .get(number)
            .is_some_and(|lease| lease.in_transaction());
        let handle = self.table.get_mut(this)?;
        // With these, nothing was sent.
        let is_new = matches!(result, Err(Error::Refused(_) | Error::Exhausted(_)));
        handle.stage = match handle.stage {
            _ if is_open => Stage::Begun,
            Stage::New if is_new => Stage::New,
            _ => Stage::Ended,
        };
        self.taped(&call, result.map(raw::Rows::from))
    }

    async fn end_transaction(
        &mut self,
        this: &Resource<TransactionHandle>,
        commits: bool,
    ) -> Answer<()> {
        let call = Sent::end(&self.table.get(this)?.database.name, commits);
        if let Some(answer) = self.taped_before(&call).await {
            return Ok(answer);
        }
        let handle = self.table.get_mut(this)?;
        let number = handle.number;
        let stage = std::mem::replace(&mut handle.stage, Stage::Ended);
        let until = self
            .times(&Arc::clone(&self.table.get(this)?.database).grant)
            .0;
        let lease = self.sessions.held.remove(number);
        let result = match (stage, lease) {
            (Stage::New, _) => Ok(()),
            (Stage::Begun, Some(mut lease)) => {
                let result = match commits {
                    true => lease.commit(until).await,
                    false => lease.roll_back(until).await,
                };
                result.map_err(raw::Error::from)
            }
            _ => Err(ended()),
        };
        self.taped(&call, result)
    }

    /// Gives all connections back: the attempt is over.
    pub(crate) fn give_sessions_back(&mut self) {
        self.sessions = Sessions {
            last_number: self.sessions.last_number,
            ..Sessions::default()
        };
    }

    fn next_number(&mut self) -> u32 {
        self.sessions.last_number = self.sessions.last_number.wrapping_add(1);
        self.sessions.last_number
    }
}

fn ended() -> raw::Error {
    raw::Error::Refused("transaction is no longer open".into())
}

impl raw::Host for AttemptState {}

impl raw::HostConnection for AttemptState {
    fn open(&mut self, database: String) -> Answer<Resource<ConnectionHandle>> {
        let database = match self.database(&database) {
            Ok(database) => Arc::new(database),
            Err(error) => return Ok(Err(*error)),
        };
        let number = self.next_number();
        Ok(Ok(self
            .table
            .push(ConnectionHandle { database, number })?))
    }

    async fn query(
        &mut self,
        this: Resource<ConnectionHandle>,
        statement: String,
        parameters: Vec<raw::Value>,
    ) -> Answer<raw::Rows> {
        self.run_alone(&this, (statement, parameters)).await
    }

    async fn execute(
        &mut self,
        this: Resource<ConnectionHandle>,
        statement: String,
        parameters: Vec<raw::Value>,
    ) -> Answer<u64> {
        let rows = self.run_alone(&this, (statement, parameters)).await?;
        Ok(rows.map(|rows| rows.affected))
    }

    fn begin(
        &mut self,
        this: Resource<ConnectionHandle>,
        isolation: raw::Isolation,
        read_only: bool,
    ) -> Answer<Resource<TransactionHandle>> {
        let database = Arc::clone(&self.table.get(&this)?.database);
        let isolation = match isolation {
            raw::Isolation::ReadCommitted => Isolation::ReadCommitted,
            raw::Isolation::RepeatableRead => Isolation::RepeatableRead,
            raw::Isolation::Serializable => Isolation::Serializable,
        };
        let read_only = read_only || database.grant.read_only;
        let handle = TransactionHandle {
            database,
            number: self.next_number(),
            begins: Transaction::Begins {
                isolation,
                read_only,
            },
            stage: Stage::New,
        };
        Ok(Ok(self.table.push(handle)?))
    }

    fn drop(&mut self, this: Resource<ConnectionHandle>) -> wasmtime::Result<()> {
        let handle = self.table.delete(this)?;
        self.sessions.held.remove(handle.number);
        Ok(())
    }
}

impl raw::HostTransaction for AttemptState {
    async fn query(
        &mut self,
        this: Resource<TransactionHandle>,
        statement: String,
        parameters: Vec<raw::Value>,
    ) -> Answer<raw::Rows> {
        self.run_in_transaction(&this, (statement, parameters))
            .await
    }

    async fn execute(
        &mut self,
        this: Resource<TransactionHandle>,
        statement: String,
        parameters: Vec<raw::Value>,
    ) -> Answer<u64> {
        let rows = self
            .run_in_transaction(&this, (statement, parameters))
            .await?;
        Ok(rows.map(|rows| rows.affected))
    }

    async fn commit(&mut self, this: Resource<TransactionHandle>) -> Answer<()> {
        self.end_transaction(&this, true).await
    }

    async fn rollback(&mut self, this: Resource<TransactionHandle>) -> Answer<()> {
        self.end_transaction(&this, false).await
    }

    fn drop(&mut self, this: Resource<TransactionHandle>) -> wasmtime::Result<()> {
        let handle = self.table.delete(this)?;
        self.sessions.held.remove(handle.number);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_connections_are_counted_for_each_database() {
        let mut held = Held::default();
        for (number, database) in [(1, "shop"), (2, "shop"), (3, "stock")] {
            held.insert(number, database, number);
        }
        let counts = ["shop", "stock", "other"].map(|database| held.count(database));
        assert_eq!(counts, [2, 1, 0]);
        assert_eq!(
            (held.remove(1), held.get(1), held.count("shop")),
            (Some(1), None, 1)
        );
    }
}
