//! Connections to a server, up to its first `ReadyForQuery`: TCP or a socket, TLS, and who asks.

use std::io;
use std::sync::Arc;

use fallible_iterator::FallibleIterator as _;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::backend::Message;
use postgres_protocol::message::frontend;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use crate::address::{Address, Place, Tls};
use crate::error::{Error, ServerError};
use crate::framed::{Framed, MESSAGE_BYTES_MAX, NotRead, Stream};

/// Some tenths of a second, which is what a connection may cost at most.
const SCRAM_ROUNDS_MAX: u32 = 1_000_000;

/// How to reach one database.
#[derive(Clone)]
pub(crate) struct Connector {
    pub(crate) address: Arc<Address>,
    tls: Arc<ClientConfig>,
}

/// What names a session to the server, to cancel what it does.
#[derive(Clone, Copy, Default)]
pub(crate) struct Key {
    process: i32,
    secret: i32,
}

impl Connector {
    pub(crate) fn new(address: Address, tls: Arc<ClientConfig>) -> Self {
        let address = Arc::new(address);
        Connector { address, tls }
    }

    async fn stream(&self) -> Result<Box<dyn Stream>, Error> {
        match &self.address.place {
            Place::Unix(path) => match UnixStream::connect(path).await {
                Ok(stream) => Ok(Box::new(stream)),
                Err(error) => Err(unreachable(&error)),
            },
            Place::Tcp(host, port) => {
                let connected = TcpStream::connect((host.as_str(), *port)).await;
                let stream = connected.map_err(|error| unreachable(&error))?;
                stream
                    .set_nodelay(true)
                    .map_err(|error| unreachable(&error))?;
                self.encrypted(stream, host).await
            }
        }
    }

    async fn encrypted(&self, mut stream: TcpStream, host: &str) -> Result<Box<dyn Stream>, Error> {
        if self.address.tls == Tls::Disable {
            return Ok(Box::new(stream));
        }
        let mut request = bytes::BytesMut::new();
        frontend::ssl_request(&mut request);
        let asked = async {
            stream.write_all(&request).await?;
            // Not a byte more: what follows an answer in the clear is not the server's.
            stream.read_u8().await
        };
        match asked.await.map_err(|error| unreachable(&error))? {
            b'S' => {}
            _ if self.address.tls == Tls::Prefer => return Ok(Box::new(stream)),
            _ => {
                return Err(Error::Refused(
                    "Postgres offers no TLS\nhint: add `?sslmode=disable` to the URL of the database if you trust the network in between"
                        .into(),
                ));
            }
        }
        let name = ServerName::try_from(host.to_owned()).map_err(|_| {
            Error::Refused("no certificate can name the host of the database".into())
        })?;
        let connector = TlsConnector::from(Arc::clone(&self.tls));
        match connector.connect(name, stream).await {
            Ok(stream) => Ok(Box::new(stream)),
            // Certificates that are not trusted, mostly, which no further try changes.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                // It names the host, which is the operator's.
                tracing::warn!(%error, "TLS connection to Postgres failed");
                Err(Error::Refused(format!(
                    "TLS connection to Postgres failed: {}",
                    tls_reason(&error)
                )))
            }
            Err(error) => Err(unreachable(&error)),
        }
    }

    /// A connection on which statements can be sent.
    pub(crate) async fn connect(&self) -> Result<(Framed, Key), Error> {
        let mut framed = Framed::new(self.stream().await?);
        let address = &*self.address;
        let who = [("user", &*address.user), ("database", &*address.database)];
        let more = address
            .parameters
            .iter()
            .map(|(name, value)| (*name, &**value));
        let said = frontend::startup_message(who.into_iter().chain(more), &mut framed.out);
        said.map_err(|_| Error::Refused("the URL of the database contains a NUL".into()))?;
        framed.send().await.map_err(|error| unreachable(&error))?;
        self.authenticate(&mut framed).await?;
        let key = begin(&mut framed).await?;
        Ok((framed, key))
    }

    async fn authenticate(&self, framed: &mut Framed) -> Result<(), Error> {
        let password = || {
            let password = self.address.password.as_deref();
            password.ok_or_else(|| {
                Error::Refused(
                    "Postgres asks for a password, and the URL of the database has none".into(),
                )
            })
        };
        match next(framed).await? {
            Message::AuthenticationOk => return Ok(()),
            Message::AuthenticationCleartextPassword => {
                let said = frontend::password_message(password()?.as_bytes(), &mut framed.out);
                said.map_err(|error| unreachable(&error))?;
            }
            Message::AuthenticationMd5Password(asked) => {
                let user = self.address.user.as_bytes();
                let hash = md5_hash(user, password()?.as_bytes(), asked.salt());
                let said = frontend::password_message(hash.as_bytes(), &mut framed.out);
                said.map_err(|error| unreachable(&error))?;
            }
            Message::AuthenticationSasl(asked) => {
                let offered = asked.mechanisms().any(|name| Ok(name == SCRAM_SHA_256));
                if !matches!(offered, Ok(true)) {
                    return Err(unknown_authentication());
                }
                scram(framed, password()?).await?;
            }
            _ => return Err(unknown_authentication()),
        }
        framed.send().await.map_err(|error| unreachable(&error))?;
        match next(framed).await? {
            Message::AuthenticationOk => Ok(()),
            _ => Err(unknown_authentication()),
        }
    }

    /// Asks the server to stop what a session does.
    pub(crate) async fn cancel(&self, key: Key) -> Result<(), Error> {
        let mut stream = self.stream().await?;
        let mut request = bytes::BytesMut::new();
        frontend::cancel_request(key.process, key.secret, &mut request);
        let sent = async {
            stream.write_all(&request).await?;
            stream.shutdown().await?;
            // The server closes the connection once it passed the request on.
            let mut rest = [0; 16];
            stream.read(&mut rest).await
        };
        sent.await
            .map(drop)
            .map_err(|error| Error::Unavailable(error.to_string()))
    }
}

/// The kind of trouble, without names.
fn tls_reason(error: &io::Error) -> &'static str {
    use rustls::{CertificateError as Reason, Error as Tls};
    let error = error.get_ref();
    match error.and_then(|error| error.downcast_ref::<Tls>()) {
        Some(Tls::InvalidCertificate(reason)) => match reason {
            Reason::UnknownIssuer => "the authority of the server's certificate is not trusted",
            Reason::Expired | Reason::ExpiredContext { .. } => {
                "the server's certificate has expired"
            }
            Reason::NotValidForName | Reason::NotValidForNameContext { .. } => {
                "the server's certificate is for another name"
            }
            _ => "the server's certificate is refused",
        },
        _ => "the handshake was refused",
    }
}

async fn scram(framed: &mut Framed, password: &str) -> Result<(), Error> {
    let failed = |error: io::Error| {
        Error::Refused(format!("Postgres failed to prove its identity: {error}"))
    };
    let mut scram = ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
    frontend::sasl_initial_response(SCRAM_SHA_256, scram.message(), &mut framed.out)
        .map_err(failed)?;
    framed.send().await.map_err(|error| unreachable(&error))?;
    let Message::AuthenticationSaslContinue(asked) = next(framed).await? else {
        return Err(unknown_authentication());
    };
    refuse_endless(asked.data())?;
    // The hash is computed as often as the server asks, and the threads of the runtime have other jobs to move.
    let computed = tokio::task::spawn_blocking(move || {
        scram.update(asked.data())?;
        Ok(scram)
    });
    let computed = computed
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)));
    let mut scram = computed.map_err(failed)?;
    frontend::sasl_response(scram.message(), &mut framed.out).map_err(failed)?;
    framed.send().await.map_err(|error| unreachable(&error))?;
    let Message::AuthenticationSaslFinal(proof) = next(framed).await? else {
        return Err(unknown_authentication());
    };
    scram.finish(proof.data()).map_err(failed)
}

/// Postgres asks for 4,096 rounds unless told otherwise.
fn refuse_endless(challenge: &[u8]) -> Result<(), Error> {
    let fields = challenge.split(|byte| *byte == b',');
    for rounds in fields.filter_map(|field| field.strip_prefix(b"i=")) {
        let rounds = std::str::from_utf8(rounds).ok();
        let rounds = rounds.and_then(|rounds| rounds.parse::<u32>().ok());
        if rounds.is_none_or(|rounds| rounds > SCRAM_ROUNDS_MAX) {
            return Err(Error::Refused(format!(
                "Postgres asks for more than {SCRAM_ROUNDS_MAX} rounds of scram-sha-256\nhint: set the password again with a smaller `scram_iterations`"
            )));
        }
    }
    Ok(())
}

/// What the server says of a session before its first statement.
async fn begin(framed: &mut Framed) -> Result<Key, Error> {
    let mut key = Key::default();
    loop {
        match next(framed).await? {
            Message::BackendKeyData(data) => {
                key = Key {
                    process: data.process_id(),
                    secret: data.secret_key(),
                };
            }
            Message::ReadyForQuery(_) => return Ok(key),
            _ => {}
        }
    }
}

async fn next(framed: &mut Framed) -> Result<Message, Error> {
    match framed.next(MESSAGE_BYTES_MAX).await {
        Ok(Message::ErrorResponse(body)) => Err(Error::Server(Box::new(ServerError::read(&body)))),
        Ok(message) => Ok(message),
        Err(NotRead::Io(error)) => Err(unreachable(&error)),
        Err(NotRead::Invalid(_) | NotRead::RowTooLong(_) | NotRead::TooLong(_)) => Err(
            Error::Refused("the server that answers is not Postgres".into()),
        ),
    }
}

fn unknown_authentication() -> Error {
    Error::Refused(
        "Postgres asks for a kind of authentication that is not supported\nhint: passwords are supported (scram-sha-256, md5 and password)"
            .into(),
    )
}

/// No address: it may hold what nobody should see.
fn unreachable(error: &io::Error) -> Error {
    Error::Unavailable(format!("Postgres is unreachable: {error}"))
}
