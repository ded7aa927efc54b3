//! Requests of a guest to other servers: `wasi:http` as far as it was granted.
//!
//! Each request is judged by itself, so a redirect that a guest follows is judged like any other: its host must
//! be on the list, the addresses that the name has now are looked at, and the connection goes to the address
//! that was looked at. Connections are not shared: nothing of one job reaches another.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
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
use ipnet::IpNet;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};
use tokio_rustls::TlsConnector;
use wasmtime_wasi_http::io::TokioIo;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

/// Which servers a processor may ask, and how much.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpGrant {
    /// `host`, `host:port`, `*.domain` for all hosts below it, or an address.
    pub hosts: Vec<String>,
    /// Private addresses that these hosts may have: addresses and nets, such as `10.1.0.0/16`.
    #[serde(default)]
    pub private: Vec<Net>,
    /// Requests in one attempt.
    #[serde(default = "defaults::requests_max")]
    pub requests_max: u32,
    /// Size of a request's body, in bytes.
    #[serde(default = "defaults::bytes_max")]
    pub request_bytes_max: u64,
    /// Size of a response's body, in bytes.
    #[serde(default = "defaults::bytes_max")]
    pub response_bytes_max: u64,
    /// How long connecting may take, in ms.
    #[serde(default = "defaults::connect_timeout_ms")]
    pub connect_timeout_ms: u64,
    /// How long a request may take until the end of its response, in ms.
    #[serde(default = "defaults::timeout_ms")]
    pub timeout_ms: u64,
}

mod defaults {
    pub(super) fn requests_max() -> u32 {
        100
    }

    pub(super) fn bytes_max() -> u64 {
        8 << 20
    }

    pub(super) fn connect_timeout_ms() -> u64 {
        5_000
    }

    pub(super) fn timeout_ms() -> u64 {
        30_000
    }
}

/// A net, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Net(IpNet);

impl TryFrom<String> for Net {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let net = text
            .parse::<IpNet>()
            .or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        net.map(Net)
            .map_err(|_| format!("`{text}` is neither an address nor a net such as `10.1.0.0/16`"))
    }
}

/// Sends the requests of one instance.
pub struct Outbound {
    grant: Option<Arc<HttpGrant>>,
    requests_left: u32,
}

impl Outbound {
    pub(crate) fn new(grant: Option<&HttpGrant>) -> Self {
        Outbound {
            requests_left: grant.map_or(0, |grant| grant.requests_max),
            grant: grant.cloned().map(Arc::new),
        }
    }

    /// Begins the next attempt in the same instance.
    pub(crate) fn renew(&mut self) {
        self.requests_left = self.grant.as_ref().map_or(0, |grant| grant.requests_max);
    }

    fn admit(&mut self, uri: &Uri) -> Result<(Arc<HttpGrant>, Target), Error> {
        let grant = self.grant.clone().ok_or(Error::HttpRequestDenied)?;
        self.requests_left = self
            .requests_left
            .checked_sub(1)
            .ok_or(Error::ConnectionLimitReached)?;
        let target = Target::of(uri).ok_or(Error::HttpRequestUriInvalid)?;
        if !grant.admits(&target.host, target.port) {
            tracing::info!(
                host = target.host,
                port = target.port,
                "request of a processor to a host that is not granted was refused"
            );
            return Err(Error::HttpRequestDenied);
        }
        Ok((grant, target))
    }
}

type Answer = (
    Response<WasiBody>,
    Box<dyn Future<Output = Result<(), Error>> + Send>,
);

impl WasiHttpHooks for Outbound {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<Answer, Error>> + Send> {
        let admitted = self.admit(request.uri());
        Box::new(async move {
            let (grant, target) = admitted?;
            send(&grant, target, request, options).await
        })
    }
}

/// Where a request goes.
struct Target {
    /// Without brackets, in lower case.
    host: String,
    port: u16,
    tls: bool,
}

impl Target {
    fn of(uri: &Uri) -> Option<Self> {
        let authority = uri.authority()?;
        let tls = uri.scheme() == Some(&Scheme::HTTPS);
        let host = authority.host().trim_matches(['[', ']']);
        Some(Target {
            host: host.trim_end_matches('.').to_ascii_lowercase(),
            port: authority.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            tls,
        })
    }
}

impl HttpGrant {
    fn admits(&self, host: &str, port: u16) -> bool {
        self.hosts.iter().any(|granted| {
            let (name, granted_port) = split_port(granted);
            let name_fits = match name.strip_prefix("*.") {
                Some(domain) => host
                    .strip_suffix(domain)
                    .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
                None => host == name,
            };
            // Where no port is named, those of the schemes are meant.
            let port_fits = match granted_port {
                Some(granted) => granted == port,
                None => port == 443 || port == 80,
            };
            name_fits && port_fits
        })
    }

    /// An address that is not public must be named: in `private`, or as a host by itself.
    fn admits_address(&self, address: IpAddr, host: &str) -> bool {
        let address = canonical(address);
        is_public(address)
            || host
                .parse::<IpAddr>()
                .is_ok_and(|named| canonical(named) == address)
            || self.private.iter().any(|Net(net)| net.contains(&address))
    }
}

/// Splits `host:port`, where the host may be an IPv6 address in brackets.
fn split_port(granted: &str) -> (&str, Option<u16>) {
    if let Some((host, rest)) = granted
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
    {
        return (
            host,
            rest.strip_prefix(':').and_then(|port| port.parse().ok()),
        );
    }
    match granted.split_once(':') {
        Some((host, port)) if !port.contains(':') => match port.parse() {
            Ok(port) => (host, Some(port)),
            Err(_) => (granted, None),
        },
        _ => (granted, None),
    }
}

/// The IPv4 address inside an IPv6 one, by whichever way it got there: mapped, 6to4, NAT64.
fn canonical(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else {
        return address;
    };
    let [a, b, c, d, _, _, g, h] = v6.segments();
    let embedded = |high: u16, low: u16| {
        let ([w, x], [y, z]) = (high.to_be_bytes(), low.to_be_bytes());
        IpAddr::V4(Ipv4Addr::new(w, x, y, z))
    };
    match (a, b, c, d) {
        _ if v6.to_ipv4_mapped().is_some() => embedded(g, h),
        (0x2002, high, low, _) => embedded(high, low),
        (0x64, 0xff9b, 0, 0) => embedded(g, h),
        _ => address,
    }
}

/// False for addresses that mean something only near this machine: loopback, private, link-local and the like
/// (the registries of special-purpose addresses, RFC 6890).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let shared = a == 100 && b & 0xc0 == 64;
    let protocols = a == 192 && b == 0 && c == 0;
    let benchmarks = a == 198 && b & 0xfe == 18;
    !(a == 0
        || a >= 240
        || shared
        || protocols
        || benchmarks
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || address.is_multicast())
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    // Global unicast is 2000::/3; of that, teredo and documentation are not.
    let [a, b, ..] = address.segments();
    a & 0xe000 == 0x2000 && !(a == 0x2001 && (b == 0 || b == 0xdb8))
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
    // The connection must move for the answer to come; afterwards it moves with the body.
    let mut connection = Box::pin(async move { connection.await.map_err(Error::from) });
    let answer = timeout_at(answered_by, sender.send_request(request));
    let mut answer = std::pin::pin!(answer);
    let answer = tokio::select! {
        biased;
        answer = &mut answer => answer,
        ended = &mut connection => {
            ended?;
            answer.await
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
    Ok((response, Box::new(connection)))
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
            host = target.host,
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

    fn grant(toml: &str) -> HttpGrant {
        toml::from_str(toml).unwrap()
    }

    #[test]
    fn hosts_are_those_that_were_named() {
        let grant =
            grant(r#"hosts = ["api.example.com", "*.example.org:8443", "[2001:db8::1]:80"]"#);
        assert!(grant.admits("api.example.com", 443) && grant.admits("api.example.com", 80));
        assert!(grant.admits("a.b.example.org", 8443) && grant.admits("2001:db8::1", 80));
        for (host, port) in [
            ("api.example.com", 8080),
            ("xapi.example.com", 443),
            ("example.org", 8443),
            (".example.org", 8443),
            ("evilexample.org", 8443),
            ("a.example.org", 443),
            ("api.example.com.evil.example", 443),
        ] {
            assert!(!grant.admits(host, port), "{host}:{port}");
        }
    }

    #[test]
    fn private_addresses_must_be_named() {
        let grant = grant("hosts = []\nprivate = [\"10.1.0.0/16\", \"fd00::1\"]");
        let admits = |address: &str| grant.admits_address(address.parse().unwrap(), "a.example");
        for public in [
            "93.184.215.14",
            "2606:2800:21f::1",
            "10.1.2.3",
            "fd00::1",
            "::ffff:10.1.2.3",
        ] {
            assert!(admits(public), "{public}");
        }
        for private in [
            "127.0.0.1",
            "10.2.0.1",
            "192.168.0.1",
            "172.16.0.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "::127.0.0.1",
            "fe80::1",
            "fd00::2",
            "ff02::1",
            "::ffff:127.0.0.1",
            "2002:7f00:1::1",
            "64:ff9b::a9fe:a9fe",
            "2001:db8::1",
        ] {
            assert!(!admits(private), "{private}");
        }
        assert!(grant.admits_address("127.0.0.1".parse().unwrap(), "127.0.0.1"));
    }

    #[test]
    fn nets_that_are_none_are_refused() {
        let error = toml::from_str::<HttpGrant>("hosts = []\nprivate = [\"ten\"]").unwrap_err();
        assert!(
            error.to_string().contains("neither an address nor a net"),
            "{error}"
        );
    }
}
