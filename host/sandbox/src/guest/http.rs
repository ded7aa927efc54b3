//! Requests of a guest to other servers: `wasi:http` as far as it was granted.
//!
//! Each request is judged by itself, so a redirect that a guest follows is judged like any other: its host must
//! be on the list, the addresses that the name has now are looked at, and the connection goes to the address
//! that was looked at. Connections are not shared: nothing of one job reaches another. In a test of a processor, answers
//! that were written down take the place of the connection.

mod answers;

use std::borrow::Cow;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::uri::Scheme;
use http::{Request, Response, Uri};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::client::conn::http1;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};
use tokio_rustls::TlsConnector;
use wasmtime_wasi_http::io::TokioIo;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use crate::backend::{HttpAnswers, JobBackend};
use crate::policy::{Grants, HttpGrant, Redactor};

/// Sends the requests of one instance.
pub(crate) struct Outbound {
    grant: Option<Arc<HttpGrant>>,
    /// For host names in the log: a processor chooses them.
    redactor: Option<Arc<Redactor>>,
    requests_left: u32,
    /// In place of servers.
    answers: Option<Arc<dyn HttpAnswers>>,
}

impl Outbound {
    pub(crate) fn new(grants: &Grants, backend: &dyn JobBackend) -> Self {
        let grant = grants.http.as_ref();
        Outbound {
            requests_left: grant.map_or(0, |grant| grant.requests_max),
            redactor: grant.and(grants.secrets.redactor()).cloned(),
            grant: grant.cloned().map(Arc::new),
            answers: backend.http_answers(),
        }
    }

    /// Begins the next attempt in the same instance.
    pub(crate) fn renew(&mut self, backend: &dyn JobBackend) {
        self.answers = backend.http_answers();
        self.requests_left = self.grant.as_ref().map_or(0, |grant| grant.requests_max);
    }

    fn admit(&mut self, uri: &Uri) -> Result<(Arc<HttpGrant>, Target), Error> {
        let grant = self.grant.clone().ok_or(Error::HttpRequestDenied)?;
        self.requests_left = self
            .requests_left
            .checked_sub(1)
            .ok_or(Error::ConnectionLimitReached)?;
        let target =
            Target::of(uri, self.redactor.as_deref()).ok_or(Error::HttpRequestUriInvalid)?;
        if !grant.admits(&target.host, target.port) {
            tracing::info!(
                host = target.shown,
                port = target.port,
                "request of a processor to a host that is not granted was refused"
            );
            return Err(Error::HttpRequestDenied);
        }
        Ok((grant, target))
    }
}

/// What is left to do on a connection.
type Rest = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Answer = (Response<WasiBody>, Rest);

impl WasiHttpHooks for Outbound {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Rest,
    ) -> Box<dyn Future<Output = Result<Answer, Error>> + Send> {
        let admitted = self.admit(request.uri());
        let answers = self.answers.clone();
        Box::new(async move {
            let (grant, target) = admitted?;
            match answers {
                Some(answers) => answers::send(&grant, &*answers, request).await,
                None => send(&grant, target, request, options).await,
            }
        })
    }
}

/// Where a request goes.
struct Target {
    /// Without brackets, in lower case.
    host: String,
    /// The same as it was written, without secrets: for the log.
    shown: String,
    port: u16,
    tls: bool,
}

impl Target {
    fn of(uri: &Uri, redactor: Option<&Redactor>) -> Option<Self> {
        let authority = uri.authority()?;
        let tls = uri.scheme() == Some(&Scheme::HTTPS);
        let host = authority.host().trim_matches(['[', ']']);
        let shown = redactor.map_or(Cow::Borrowed(host), |redactor| redactor.redact(host));
        Some(Target {
            shown: shown.into_owned(),
            host: host.trim_end_matches('.').to_ascii_lowercase(),
            port: authority.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            tls,
        })
    }
}

async fn send(
    grant: &HttpGrant,
    target: Target,
    mut request: Request<WasiBody>,
    options: Option<RequestOptions>,
) -> Result<Answer, Error> {
    let asked = options.unwrap_or_default();
    let within = |wanted: Option<Duration>, max_ms: u64| {
        let max = Duration::from_millis(max_ms);
        Instant::now() + wanted.map_or(max, |wanted| wanted.min(max))
    };
    let end = within(None, grant.timeout_ms);
    let connected_by = within(asked.connect_timeout, grant.connect_timeout_ms).min(end);
    let answered_by = within(asked.first_byte_timeout, grant.timeout_ms);

    let connect = connect(grant, &target);
    let stream = timeout_at(connected_by, connect)
        .await
        .map_err(|_| Error::ConnectionTimeout)??;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;

    // To the server itself goes the path alone; the host is in its header.
    let path = request.uri().path_and_query().cloned();
    let path = path.map_or(Uri::from_static("/"), Uri::from);
    *request.uri_mut() = path;
    let request =
        request.map(|body| Bounded::new(body, grant.request_bytes_max, end, TOO_LARGE_REQUEST));
    // The connection must move for the answer to come; afterwards it moves with the body. One that ended with the answer,
    // as the server asks for with `Connection: close`, must not be polled again.
    let mut connection = Box::pin(async move { connection.await.map_err(Error::from) });
    let answer = timeout_at(answered_by, sender.send_request(request));
    let mut answer = std::pin::pin!(answer);
    let (answer, rest): (_, Rest) = tokio::select! {
        biased;
        answer = &mut answer => (answer, Box::new(connection)),
        ended = &mut connection => {
            ended?;
            (answer.await, Box::new(std::future::ready(Ok(()))))
        }
    };
    let response = match answer {
        Ok(Ok(response)) => response,
        // The only thing of ours in it is the body, which was too large.
        Ok(Err(error)) if error.is_user() => {
            return Err(TOO_LARGE_REQUEST(grant.request_bytes_max));
        }
        Ok(Err(error)) => return Err(error.into()),
        Err(_) => return Err(Error::HttpResponseTimeout),
    };
    let response = response.map(|body| {
        let body = body.map_err(Error::from);
        Bounded::new(body, grant.response_bytes_max, end, TOO_LARGE_RESPONSE).boxed_unsync()
    });
    Ok((response, rest))
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Connects to the first address that may be connected to.
async fn connect(grant: &HttpGrant, target: &Target) -> Result<Box<dyn Stream>, Error> {
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host((target.host.as_str(), target.port))
        .await
        .map_err(|error| Error::DnsError {
            rcode: Some(error.to_string()),
            info_code: None,
        })?
        .collect();
    if addresses.is_empty() {
        return Err(Error::DestinationNotFound);
    }
    let admitted: Vec<SocketAddr> = addresses
        .into_iter()
        .filter(|address| grant.admits_address(address.ip(), &target.host))
        .collect();
    if admitted.is_empty() {
        tracing::info!(
            host = target.shown,
            "request of a processor to a private address was refused; `http.private` grants some"
        );
        return Err(Error::DestinationIpProhibited);
    }
    let stream = TcpStream::connect(&*admitted)
        .await
        .map_err(Error::Connect)?;
    if !target.tls {
        return Ok(Box::new(stream));
    }
    let name =
        ServerName::try_from(target.host.clone()).map_err(|_| Error::HttpRequestUriInvalid)?;
    let connector = TlsConnector::from(tls_config()?);
    let stream = connector.connect(name, stream).await.map_err(Error::Tls)?;
    Ok(Box::new(stream))
}

/// Trusts the authorities that the system trusts; read once.
fn tls_config() -> Result<Arc<ClientConfig>, Error> {
    static CONFIG: LazyLock<Option<Arc<ClientConfig>>> = LazyLock::new(|| {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .ok()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Some(Arc::new(config))
    });
    CONFIG.clone().ok_or(Error::ConfigurationError)
}

type TooLarge = fn(u64) -> Error;
const TOO_LARGE_REQUEST: TooLarge = |max| Error::HttpRequestBodySize(Some(max));
const TOO_LARGE_RESPONSE: TooLarge = |max| Error::HttpResponseBodySize(Some(max));

/// A body that may have a size, and take a time.
struct Bounded<B> {
    body: Pin<Box<B>>,
    bytes_left: u64,
    bytes_max: u64,
    end: Pin<Box<Sleep>>,
    too_large: TooLarge,
}

impl<B> Bounded<B> {
    fn new(body: B, bytes_max: u64, end: Instant, too_large: TooLarge) -> Self {
        Bounded {
            body: Box::pin(body),
            bytes_left: bytes_max,
            bytes_max,
            end: Box::pin(sleep_until(end)),
            too_large,
        }
    }
}

impl<B: Body<Data = Bytes, Error = Error>> Body for Bounded<B> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if self.end.as_mut().poll(context).is_ready() {
            return Poll::Ready(Some(Err(Error::HttpResponseTimeout)));
        }
        let frame = std::task::ready!(self.body.as_mut().poll_frame(context));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            match self.bytes_left.checked_sub(data.len() as u64) {
                Some(left) => self.bytes_left = left,
                None => return Poll::Ready(Some(Err((self.too_large)(self.bytes_max)))),
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Secret, Secrets};

    #[test]
    fn host_of_a_request_is_shown_without_secrets() {
        let secret = (
            "TOKEN".to_owned(),
            Secret::new("HuNter22".to_owned()).unwrap(),
        );
        let secrets: Secrets = [secret].into_iter().collect();
        let uri = Uri::from_static("http://HuNter22.example.com:8080/");
        let redactor = secrets.redactor().map(|redactor| &**redactor);
        let target = Target::of(&uri, redactor).unwrap();
        assert_eq!(target.host, "hunter22.example.com");
        assert_eq!(target.shown, "***.example.com");
    }
}
