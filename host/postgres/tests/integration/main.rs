//! Sessions and pools against a real Postgres.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "tests say what fails by failing"
)]

mod hostile;
mod impostors;
mod leaks;
mod limits;
mod outages;
mod server;
mod statements;

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use rustls::{ClientConfig, RootCertStore};
use tokio::time::Instant;
use toril_postgres::{
    Address, Bounds, Error, Lease, Pool, PoolOptions, Rows, Statement, Transaction, Value,
};

const ALONE: Transaction = Transaction::Alone { read_only: false };

fn options() -> PoolOptions {
    PoolOptions {
        connections_max: 1,
        idle: Duration::from_secs(60),
        connect_timeout: Duration::from_secs(5),
    }
}

/// A pool that trusts these certificates, PEM.
fn pool_trusting(address: Address, options: PoolOptions, authorities: &[u8]) -> Pool {
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(authorities) {
        roots.add(authority.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Pool::new(address, options, Arc::new(tls))
}

fn pool_of(address: Address, options: PoolOptions) -> Pool {
    pool_trusting(address, options, &[])
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

fn bounds() -> Bounds {
    Bounds {
        rows_max: 1_000,
        bytes_max: 1 << 20,
        until: soon(),
    }
}

/// A pool of one connection with a database of its own.
fn pool() -> (Pool, String) {
    let server = server::shared();
    let database = server.database();
    let pool = pool_of(server.url(&database).parse().unwrap(), options());
    (pool, database)
}

async fn run_with(
    lease: &mut Lease,
    text: &str,
    parameters: &[Value],
    transaction: Transaction,
) -> Result<Rows, Error> {
    let statement = Statement::new(text);
    lease
        .run(statement, parameters, transaction, &bounds())
        .await
}

async fn run(lease: &mut Lease, text: &str) -> Result<Rows, Error> {
    run_with(lease, text, &[], ALONE).await
}

/// The one value that a statement returns.
async fn one(lease: &mut Lease, text: &str) -> Value {
    let mut rows = run(lease, text).await.unwrap();
    rows.rows.pop().unwrap().pop().unwrap()
}

fn code(result: Result<Rows, Error>) -> String {
    match result.unwrap_err() {
        Error::Server(error) => error.code,
        other => panic!("{other}"),
    }
}
