//! Postgres, through connections that the host keeps. In the host's config, `[queues.NAME.grants.postgres.main]` grants the database `main`.
//!
//! ```no_run
//! use toril_sdk::{postgres, prelude::*};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Order {
//!     id: i64,
//!     total: f64,
//! }
//!
//! #[toril_sdk::processor]
//! fn process(job: Job) -> Result<impl Serialize, Failure> {
//!     let customer: i64 = job.data()?;
//!     let db = postgres::open("main")?;
//!     let orders: Vec<Order> = db.query("select id, total from orders where customer = $1", &[&customer])?;
//!     db.execute("update customers set seen = now() where id = $1", &[&customer])?;
//!     Ok(orders)
//! }
//! # fn main() {}
//! ```
//!
//! Each call is one round trip; statements are prepared once for each connection. Each statement takes a connection of the queue and
//! returns it. A [`Transaction`] keeps its connection, and so does a [`Database`] after a statement that may have changed the
//! session (`SET`, advisory locks, temporary tables), until it is dropped.

mod error;
mod parameter;
mod row;

#[allow(
    unsafe_code,
    unreachable_pub,
    missing_docs,
    clippy::allow_attributes_without_reason,
    reason = "generated code"
)]
mod bindings {
    wit_bindgen::generate!({
        path: "wit/postgres",
        world: "imports",
    });
}

/// What the imports are is told to the linker by the module that they are in, and that is left out where all of its functions are
/// inlined.
#[used]
static LINKED: fn() = bindings::__link_custom_section_describing_imports;

use serde::de::DeserializeOwned;

use bindings::toril::postgres::client as raw;
pub use error::{Error, ServerError};
pub use parameter::Parameter;
pub use raw::{Column, Isolation, Rows, Value};

/// A database that the operator granted.
#[derive(Debug)]
pub struct Database {
    raw: raw::Connection,
}

/// A transaction. If it is dropped without [`commit`](Transaction::commit), or if the attempt ends, the host rolls it back.
#[derive(Debug)]
pub struct Transaction {
    raw: raw::Transaction,
}

/// Opens the database that the operator granted under this name.
pub fn open(name: &str) -> Result<Database, Error> {
    let raw = raw::Connection::open(name)?;
    Ok(Database { raw })
}

fn written(parameters: &[&dyn Parameter]) -> Vec<Value> {
    parameters
        .iter()
        .map(|parameter| parameter.value())
        .collect()
}

/// A [`Database`] or a [`Transaction`].
trait Carries {
    fn carry_out(&self, statement: &str, parameters: &[Value]) -> Result<Rows, Error>;

    fn read<T: DeserializeOwned>(
        &self,
        statement: &str,
        parameters: &[&dyn Parameter],
    ) -> Result<Vec<T>, Error> {
        let Rows { columns, rows, .. } = self.carry_out(statement, &written(parameters))?;
        let read = |values| row::read(&columns, values).map_err(Error::Row);
        rows.into_iter().map(read).collect()
    }
}

impl Carries for Database {
    fn carry_out(&self, statement: &str, parameters: &[Value]) -> Result<Rows, Error> {
        Ok(self.raw.query(statement, parameters)?)
    }
}

impl Carries for Transaction {
    fn carry_out(&self, statement: &str, parameters: &[Value]) -> Result<Rows, Error> {
        Ok(self.raw.query(statement, parameters)?)
    }
}

impl Database {
    /// Reads each row as `T`: a struct by the names of its columns, a tuple by their order, or the value of the only column.
    pub fn query<T: DeserializeOwned>(
        &self,
        statement: &str,
        parameters: &[&dyn Parameter],
    ) -> Result<Vec<T>, Error> {
        self.read(statement, parameters)
    }

    /// Reads the first row, if there is one.
    pub fn query_first<T: DeserializeOwned>(
        &self,
        statement: &str,
        parameters: &[&dyn Parameter],
    ) -> Result<Option<T>, Error> {
        Ok(self.read(statement, parameters)?.into_iter().next())
    }

    /// Carries out a statement, and returns the rows as Postgres sent them.
    pub fn query_raw(&self, statement: &str, parameters: &[Value]) -> Result<Rows, Error> {
        self.carry_out(statement, parameters)
    }

    /// Carries out a statement, and returns how many rows it read, added, changed or removed.
    pub fn execute(&self, statement: &str, parameters: &[&dyn Parameter]) -> Result<u64, Error> {
        Ok(self.raw.execute(statement, &written(parameters))?)
    }

    /// Begins a transaction at READ COMMITTED.
    pub fn begin(&self) -> Result<Transaction, Error> {
        self.begin_with(Isolation::ReadCommitted, false)
    }

    /// Begins a transaction. One that is read-only can change nothing.
    pub fn begin_with(&self, isolation: Isolation, read_only: bool) -> Result<Transaction, Error> {
        let raw = self.raw.begin(isolation, read_only)?;
        Ok(Transaction { raw })
    }
}

impl Transaction {
    /// Reads each row as `T`, as [`Database::query`] does.
    pub fn query<T: DeserializeOwned>(
        &self,
        statement: &str,
        parameters: &[&dyn Parameter],
    ) -> Result<Vec<T>, Error> {
        self.read(statement, parameters)
    }

    /// Reads the first row, if there is one.
    pub fn query_first<T: DeserializeOwned>(
        &self,
        statement: &str,
        parameters: &[&dyn Parameter],
    ) -> Result<Option<T>, Error> {
        Ok(self.read(statement, parameters)?.into_iter().next())
    }

    /// Carries out a statement, and returns the rows as Postgres sent them.
    pub fn query_raw(&self, statement: &str, parameters: &[Value]) -> Result<Rows, Error> {
        self.carry_out(statement, parameters)
    }

    /// Carries out a statement, and returns how many rows it read, added, changed or removed.
    pub fn execute(&self, statement: &str, parameters: &[&dyn Parameter]) -> Result<u64, Error> {
        Ok(self.raw.execute(statement, &written(parameters))?)
    }

    /// Commits the transaction.
    pub fn commit(self) -> Result<(), Error> {
        Ok(self.raw.commit()?)
    }

    /// Rolls the transaction back.
    pub fn roll_back(self) -> Result<(), Error> {
        Ok(self.raw.rollback()?)
    }
}
