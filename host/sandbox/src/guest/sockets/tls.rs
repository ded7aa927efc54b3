//! `wasi:tls` over the streams of a socket: rustls, with the authorities of the system and of the grant.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use wasmtime::component::Linker;
use wasmtime_wasi_tls::p2::LinkOptions;
use wasmtime_wasi_tls::{
    Error, TlsProvider, TlsTransport, WasiTlsCtx, WasiTlsCtxBuilder, WasiTlsCtxView, WasiTlsView,
};

use crate::guest::AttemptState;
use crate::guest::notes::Notes;
use crate::policy::{Policy, judge_tls};

pub(super) fn add_to_linker(linker: &mut Linker<AttemptState>) -> wasmtime::Result<()> {
    let mut options = LinkOptions::default();
    options.tls(true);
    wasmtime_wasi_tls::p2::add_to_linker(linker, &options)
}

impl WasiTlsView for AttemptState {
    fn tls(&mut self) -> WasiTlsCtxView<'_> {
        let made = self.current.sockets.tls.take().unwrap_or_else(|| {
            Box::new(context(Client {
                policy: Arc::clone(&self.policy),
                notes: self.notes().clone(),
            }))
        });
        WasiTlsCtxView {
            ctx: self.current.sockets.tls.insert(made),
            table: &mut self.table,
        }
    }
}

fn context(client: Client) -> WasiTlsCtx {
    WasiTlsCtxBuilder::new().provider(Box::new(client)).build()
}

/// Makes TLS of the connections of one attempt.
struct Client {
    policy: Arc<Policy>,
    notes: Notes,
}

impl Client {
    /// How to begin TLS with a server of this name, if it was granted, and how long that may take.
    fn admit(&self, name: &str) -> Result<(Arc<ClientConfig>, Duration), Error> {
        let grants = &self.policy.grants;
        let Some(grant) = &grants.tcp else {
            return Err(Error::msg("TLS needs the grant `tcp`"));
        };
        if let Err(refusal) = judge_tls(grant, name) {
            let text = refusal.text(self.notes.queue());
            self.notes.write(|| text.clone());
            return Err(Error::msg(grants.secrets.redact(&text).into_owned()));
        }
        let config = self.policy.connections.tcp_tls(&grant.tls);
        let config = config.map_err(|error| Error::msg(format!("{error:#}")))?;
        Ok((config, Duration::from_millis(grant.connect_timeout_ms)))
    }
}

type Connecting =
    Pin<Box<dyn Future<Output = Result<Box<dyn wasmtime_wasi_tls::TlsStream>, Error>> + Send>>;

impl TlsProvider for Client {
    fn connect(&self, name: String, transport: Box<dyn TlsTransport>) -> Connecting {
        let admitted = self.admit(&name);
        Box::pin(async move {
            let (config, time_max) = admitted?;
            let name = ServerName::try_from(name)
                .map_err(|_| Error::msg("the name of the server is invalid"))?;
            let connecting = TlsConnector::from(config).connect(name, transport);
            let connected = timeout(time_max, connecting).await;
            let connected =
                connected.map_err(|_| Error::msg("the server did not begin TLS in time"))?;
            Ok(Box::new(Stream(connected?)) as Box<dyn wasmtime_wasi_tls::TlsStream>)
        })
    }
}

/// A stream that is of a type of ours, so that the trait can be implemented.
struct Stream(TlsStream<Box<dyn TlsTransport>>);

impl wasmtime_wasi_tls::TlsStream for Stream {}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
