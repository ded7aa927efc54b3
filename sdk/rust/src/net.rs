//! Connections to other servers that may become TLS. The queue needs the grant `tcp`.
//!
//! `std::net::TcpStream` works with that grant, too, and so do clients that are built on it. [`TcpStream`] is for
//! connections that are to become TLS, at once or later (`STARTTLS`): the host speaks it, so the processor needs no
//! cryptography of its own.
//!
//! ```no_run
//! use std::io::{Read, Write};
//! use toril_sdk::net::TcpStream;
//!
//! # fn main() -> std::io::Result<()> {
//! let mut stream = TcpStream::connect("time.example.com", 4460)?.into_tls("time.example.com")?;
//! stream.write_all(b"now\n")?;
//! let mut answer = String::new();
//! stream.read_to_string(&mut answer)?;
//! # Ok(())
//! # }
//! ```

use std::io::{self, Read, Write};

use bindings::wasi::tls::types::{ClientConnection, ClientHandshake};
use wasip2::io::streams::{InputStream, OutputStream, StreamError};
use wasip2::sockets::instance_network::instance_network;
use wasip2::sockets::ip_name_lookup::resolve_addresses;
use wasip2::sockets::network::{
    ErrorCode, IpAddress, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, Ipv6SocketAddress,
    Network,
};
use wasip2::sockets::tcp::TcpSocket;
use wasip2::sockets::tcp_create_socket::create_tcp_socket;

#[allow(
    unsafe_code,
    unreachable_pub,
    missing_docs,
    clippy::allow_attributes_without_reason,
    reason = "generated code"
)]
mod bindings {
    wit_bindgen::generate!({
        path: "src/net/wit",
        world: "net",
        with: {
            "wasi:io/error@0.2.12": wasip2::io::error,
            "wasi:io/poll@0.2.12": wasip2::io::poll,
            "wasi:io/streams@0.2.12": wasip2::io::streams,
            "wasi:tls/types@0.2.0-draft": generate,
        },
    });
}

/// What the imports are is told to the linker by the module that they are in, and that is left out where all of its functions are
/// inlined.
#[used]
static LINKED: fn() = bindings::__link_custom_section_describing_imports;

/// A connection. Reads and writes block. The end of the attempt closes it.
#[derive(Debug)]
pub struct TcpStream {
    streams: Streams,
    socket: TcpSocket,
}

/// A connection that speaks TLS.
#[derive(Debug)]
pub struct TlsStream {
    streams: Streams,
    connection: ClientConnection,
    _socket: TcpSocket,
}

impl TcpStream {
    /// Connects to the first address of a host that answers.
    pub fn connect(host: &str, port: u16) -> io::Result<Self> {
        let network = instance_network();
        let because = |code| refused(host, port, code);
        let mut last = ErrorCode::NameUnresolvable;
        for address in addresses(&network, host).map_err(because)? {
            match connect(&network, address, port) {
                Ok(stream) => return Ok(stream),
                Err(code) => last = code,
            }
        }
        Err(because(last))
    }

    /// Begins TLS. The name must be granted, and the server must have a certificate for it.
    pub fn into_tls(self, server_name: &str) -> io::Result<TlsStream> {
        let TcpStream { streams, socket } = self;
        let Streams { input, output } = streams;
        let handshake = ClientHandshake::new(server_name, input, output);
        let streams = ClientHandshake::finish(handshake);
        streams.subscribe().block();
        match streams.get() {
            Some(Ok(Ok((connection, input, output)))) => Ok(TlsStream {
                streams: Streams { input, output },
                connection,
                _socket: socket,
            }),
            Some(Ok(Err(error))) => Err(io::Error::other(said(&error))),
            Some(Err(())) | None => Err(io::Error::other("TLS did not begin")),
        }
    }
}

impl TlsStream {
    /// Tells the server that the processor sends nothing more.
    pub fn close(&mut self) -> io::Result<()> {
        self.flush()?;
        self.connection.close_output();
        Ok(())
    }
}

fn addresses(network: &Network, host: &str) -> Result<Vec<IpAddress>, ErrorCode> {
    let found = resolve_addresses(network, host)?;
    let mut addresses = Vec::new();
    loop {
        match found.resolve_next_address() {
            Ok(Some(address)) => addresses.push(address),
            Ok(None) => return Ok(addresses),
            Err(ErrorCode::WouldBlock) => found.subscribe().block(),
            Err(code) => return Err(code),
        }
    }
}

fn connect(network: &Network, address: IpAddress, port: u16) -> Result<TcpStream, ErrorCode> {
    let (family, address) = match address {
        IpAddress::Ipv4(address) => (
            IpAddressFamily::Ipv4,
            IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address }),
        ),
        IpAddress::Ipv6(address) => (
            IpAddressFamily::Ipv6,
            IpSocketAddress::Ipv6(Ipv6SocketAddress {
                port,
                flow_info: 0,
                address,
                scope_id: 0,
            }),
        ),
    };
    let socket = create_tcp_socket(family)?;
    socket.start_connect(network, address)?;
    let (input, output) = loop {
        match socket.finish_connect() {
            Err(ErrorCode::WouldBlock) => socket.subscribe().block(),
            finished => break finished?,
        }
    };
    Ok(TcpStream {
        streams: Streams { input, output },
        socket,
    })
}

/// WASI has codes only; these say what to look at.
fn refused(host: &str, port: u16, code: ErrorCode) -> io::Error {
    let (kind, reason) = match code {
        ErrorCode::AccessDenied => (
            io::ErrorKind::PermissionDenied,
            "it is not in `grants.tcp` of the queue; the host's log says what to add",
        ),
        ErrorCode::NewSocketLimit => (
            io::ErrorKind::QuotaExceeded,
            "`grants.tcp` allows no more connections",
        ),
        ErrorCode::Timeout => (io::ErrorKind::TimedOut, "the server did not answer in time"),
        ErrorCode::ConnectionRefused => (io::ErrorKind::ConnectionRefused, "the server refused it"),
        ErrorCode::NameUnresolvable => (io::ErrorKind::NotFound, "the name has no address"),
        code => {
            let text = format!("connection to {host}:{port} failed: {}", code.name());
            return io::Error::other(text);
        }
    };
    io::Error::new(
        kind,
        format!("connection to {host}:{port} failed: {reason}"),
    )
}

/// The two directions. Dropped before what they are streams of.
#[derive(Debug)]
struct Streams {
    input: InputStream,
    output: OutputStream,
}

/// What the host says of an error, without a stack of the host.
fn said(error: &wasip2::io::error::Error) -> String {
    let text = error.to_debug_string();
    let said = text.split("\nStack backtrace:").next();
    said.unwrap_or_default().trim_end().to_owned()
}

fn failed(error: StreamError) -> io::Error {
    match error {
        StreamError::Closed => io::ErrorKind::BrokenPipe.into(),
        StreamError::LastOperationFailed(error) => io::Error::other(said(&error)),
    }
}

impl Read for Streams {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        match self.input.blocking_read(buffer.len() as u64) {
            Ok(bytes) => {
                buffer[..bytes.len()].copy_from_slice(&bytes);
                Ok(bytes.len())
            }
            Err(StreamError::Closed) => Ok(0),
            Err(error) => Err(failed(error)),
        }
    }
}

impl Write for Streams {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        loop {
            match self.output.check_write().map_err(failed)? {
                0 => self.output.subscribe().block(),
                room => {
                    let room = usize::try_from(room).unwrap_or(usize::MAX);
                    let count = room.min(bytes.len());
                    self.output.write(&bytes[..count]).map_err(failed)?;
                    return Ok(count);
                }
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.blocking_flush().map_err(failed)
    }
}

macro_rules! streams_of {
    ($type:ty) => {
        impl Read for $type {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                self.streams.read(buffer)
            }
        }

        impl Write for $type {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.streams.write(bytes)
            }

            fn flush(&mut self) -> io::Result<()> {
                self.streams.flush()
            }
        }
    };
}

streams_of!(TcpStream);
streams_of!(TlsStream);
