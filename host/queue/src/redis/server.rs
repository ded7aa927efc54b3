//! Opens connections to a server, to the master of the moment, or to a cluster.

use std::ops::Range;
use std::time::Duration;

use redis::aio::ConnectionLike as _;
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::cluster_async::ClusterConnection;
use redis::{
    Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, Pipeline, RedisError, RedisResult,
    TlsCertificates, Value,
};

use super::address::{Address, unbuffered};
use super::link::{AtServer, Link};
use super::sentinel::Sentinel;
use crate::error::QueueError;

/// To find a server, to reach it and to log in.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Of calls to a cluster, whose connections redis-rs opens itself: there the time of the whole reply counts.
const CLUSTER_RESPONSE_TIMEOUT: Duration = Duration::from_secs(15);

/// How long redis-rs waits before it repeats a call that a cluster refuses for the moment: while a slot moves, say.
const CLUSTER_RETRY_MS: Range<u64> = 20..500;
/// More than fit into the time of a reply, which ends them.
const CLUSTER_RETRIES: u32 = 50;

/// Where connections lead.
pub(super) struct Server {
    target: Target,
    /// The authority (PEM) that is trusted where TLS is asked for; without one, those that the system trusts.
    authority: Option<Vec<u8>>,
}

enum Target {
    Single(Box<ConnectionInfo>),
    Sentinel(Box<Sentinel>),
    Cluster(Box<ClusterClient>),
}

/// An open connection.
#[derive(Clone)]
pub(super) enum Connection {
    Link(Link),
    /// Reconnects by itself, to each node.
    Cluster(ClusterConnection),
}

impl Server {
    pub(super) fn new(address: Address, authority: Option<&[u8]>) -> Result<Self, QueueError> {
        let target = match address {
            Address::Single(info) => Target::Single(info),
            Address::Cluster(nodes) => Target::Cluster(Box::new(cluster(nodes, authority)?)),
            Address::Sentinel {
                sentinels,
                master,
                service,
            } => Target::Sentinel(Box::new(Sentinel {
                sentinels,
                master: *master,
                service,
            })),
        };
        Ok(Server {
            target,
            authority: authority.map(<[u8]>::to_vec),
        })
    }

    pub(super) fn is_cluster(&self) -> bool {
        matches!(self.target, Target::Cluster(_))
    }

    pub(super) fn database(&self) -> i64 {
        match &self.target {
            Target::Single(info) => info.redis_settings().db(),
            Target::Sentinel(sentinel) => sentinel.master.redis_settings().db(),
            Target::Cluster(_) => 0,
        }
    }

    /// Opens a connection of its own.
    pub(super) async fn open(&self) -> RedisResult<Connection> {
        let authority = self.authority.as_deref();
        let open = async {
            Ok(match &self.target {
                Target::Single(info) => Connection::Link(Link::open(info, authority).await?),
                Target::Sentinel(sentinel) => {
                    let master = sentinel.locate(authority).await?;
                    Connection::Link(Link::open(&master, authority).await?)
                }
                Target::Cluster(client) => {
                    Connection::Cluster(client.get_async_connection().await?)
                }
            })
        };
        match tokio::time::timeout(CONNECT_TIMEOUT, open).await {
            Ok(result) => result,
            Err(_) => Err(RedisError::from((
                ErrorKind::Io,
                "no server answers, or none is the master",
            ))),
        }
    }
}

fn cluster(
    nodes: Vec<ConnectionInfo>,
    authority: Option<&[u8]>,
) -> Result<ClusterClient, QueueError> {
    let with_tls = nodes
        .iter()
        .any(|node| matches!(node.addr(), ConnectionAddr::TcpTls { .. }));
    let mut builder = ClusterClientBuilder::new(nodes)
        .connection_timeout(CONNECT_TIMEOUT)
        .response_timeout(CLUSTER_RESPONSE_TIMEOUT)
        .retries(CLUSTER_RETRIES)
        .min_retry_wait(CLUSTER_RETRY_MS.start)
        .max_retry_wait(CLUSTER_RETRY_MS.end)
        .tcp_settings(unbuffered());
    if with_tls {
        builder = builder.certs(TlsCertificates {
            client_tls: None,
            root_cert: authority.map(<[u8]>::to_vec),
        });
    }
    Ok(builder.build()?)
}

impl Connection {
    pub(super) async fn send(&mut self, command: &Cmd) -> RedisResult<Value> {
        match self {
            Connection::Link(link) => link.send(command).await,
            Connection::Cluster(connection) => connection.req_packed_command(command).await,
        }
        .and_then(Value::extract_error)
    }

    /// Sends a command that Redis may answer only after `longest`.
    pub(super) async fn send_blocking(
        &mut self,
        command: &Cmd,
        longest: Duration,
    ) -> RedisResult<Value> {
        match self {
            Connection::Link(link) => link.send_blocking(command, longest).await,
            Connection::Cluster(connection) => connection.req_packed_command(command).await,
        }
        .and_then(Value::extract_error)
    }

    pub(super) async fn send_all(
        &mut self,
        pipeline: &Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisResult<Vec<Value>> {
        match self {
            Connection::Link(link) => link.send_all(pipeline, offset, count).await,
            Connection::Cluster(connection) => {
                connection
                    .req_packed_commands(pipeline, offset, count)
                    .await
            }
        }
    }

    /// True after an error that this connection does not get over: it broke, or its server is no master any more.
    /// A cluster's finds its way by itself.
    pub(super) fn is_spent(&self, error: &RedisError) -> bool {
        let broke = error.is_io_error()
            || error.is_unrecoverable_error()
            || error.code() == Some("READONLY");
        matches!(self, Connection::Link(_)) && broke
    }

    pub(super) fn at_server(&self) -> Option<&AtServer> {
        match self {
            Connection::Link(link) => link.at_server(),
            Connection::Cluster(_) => None,
        }
    }

    /// Gets ready to be shared: has the server drop the connection before it, which was given up, and asks how it can be
    /// dropped itself. False if the other one may still be there.
    pub(super) async fn follow(&mut self, spent: Option<&AtServer>) -> RedisResult<bool> {
        let Connection::Link(link) = self else {
            return Ok(true);
        };
        let asked = async {
            link.identify().await?;
            match spent {
                Some(spent) => link.fence(spent).await,
                None => Ok(true),
            }
        };
        let silent = |_| RedisError::from((ErrorKind::Io, "server does not answer"));
        tokio::time::timeout(CONNECT_TIMEOUT, asked)
            .await
            .map_err(silent)?
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Connection::Link(link), Connection::Link(other)) => link.is(other),
            _ => false,
        }
    }
}
