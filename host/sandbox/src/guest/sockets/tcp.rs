//! `wasi:sockets/tcp` and `tcp-create-socket`: sockets that connect to where they may, and do nothing else.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use rustix::fd::{AsFd as _, BorrowedFd};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout_at};
use wasmtime::component::{Linker, LinkerInstance, Resource, ResourceType};
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, IpAddressFamily, IpSocketAddress};
use wasmtime_wasi::p2::bindings::sockets::tcp::ShutdownType;
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, DynPollable, Network, Pollable, subscribe,
};

use super::streams::{Connection, Reader, Writer};
use super::{Answer, Place, add};
use crate::guest::AttemptState;
use crate::open_files::{Ticket, TooMany};

/// The versions that wasmtime-wasi 48 serves; guests of older ones are linked to them, too.
pub(super) const TCP: &str = "wasi:sockets/tcp@0.2.12";
const CREATE: &str = "wasi:sockets/tcp-create-socket@0.2.12";

type This = (Resource<Socket>,);
type Streams = (Resource<DynInputStream>, Resource<DynOutputStream>);

pub(super) fn add_to_linker(linker: &mut Linker<AttemptState>) -> wasmtime::Result<()> {
    let mut tcp = linker.instance(TCP)?;
    tcp.resource(
        "tcp-socket",
        ResourceType::host::<Socket>(),
        |mut store, handle| {
            let socket = Resource::<Socket>::new_own(handle);
            store.data_mut().table.delete(socket)?;
            Ok(())
        },
    )?;
    add(&mut tcp, "[method]tcp-socket.start-connect", start_connect)?;
    add(
        &mut tcp,
        "[method]tcp-socket.finish-connect",
        finish_connect,
    )?;
    add(
        &mut tcp,
        "[method]tcp-socket.local-address",
        |state, this| address(state, this, TcpStream::local_addr),
    )?;
    add(
        &mut tcp,
        "[method]tcp-socket.remote-address",
        |state, this| address(state, this, TcpStream::peer_addr),
    )?;
    add(
        &mut tcp,
        "[method]tcp-socket.address-family",
        |state, (socket,): This| Ok(state.table.get(&socket)?.family),
    )?;
    add(
        &mut tcp,
        "[method]tcp-socket.subscribe",
        |state, (socket,): This| -> wasmtime::Result<Resource<DynPollable>> {
            subscribe(&mut state.table, socket)
        },
    )?;
    add(&mut tcp, "[method]tcp-socket.shutdown", shutdown)?;
    add_listening(&mut tcp)?;
    let mut create = linker.instance(CREATE)?;
    add(&mut create, "create-tcp-socket", create_socket)
}

/// What a server would call: all of it is refused.
fn add_listening(tcp: &mut LinkerInstance<'_, AttemptState>) -> wasmtime::Result<()> {
    type Bind = (Resource<Socket>, Resource<Network>, IpSocketAddress);
    type Accepted = (
        Resource<Socket>,
        Resource<DynInputStream>,
        Resource<DynOutputStream>,
    );
    const REFUSED: &str = "binding a socket was refused: processors connect, and never listen";
    add(
        tcp,
        "[method]tcp-socket.start-bind",
        |state, _: Bind| -> Answer<()> {
            state.note(|_| REFUSED.into());
            Ok(Err(ErrorCode::AccessDenied))
        },
    )?;
    add(
        tcp,
        "[method]tcp-socket.start-listen",
        |state, _: This| -> Answer<()> {
            state.note(|_| REFUSED.into());
            Ok(Err(ErrorCode::AccessDenied))
        },
    )?;
    for finish in ["finish-bind", "finish-listen"] {
        let name = format!("[method]tcp-socket.{finish}");
        add(tcp, &name, |_, _: This| -> Answer<()> {
            Ok(Err(ErrorCode::NotInProgress))
        })?;
    }
    add(
        tcp,
        "[method]tcp-socket.accept",
        |_, _: This| -> Answer<Accepted> { Ok(Err(ErrorCode::InvalidState)) },
    )?;
    add(
        tcp,
        "[method]tcp-socket.set-listen-backlog-size",
        |_, _: (Resource<Socket>, u64)| -> Answer<()> { Ok(Err(ErrorCode::NotSupported)) },
    )?;
    add(tcp, "[method]tcp-socket.is-listening", |_, _: This| {
        Ok(false)
    })
}

/// A socket of a guest.
pub(super) struct Socket {
    family: IpAddressFamily,
    state: SocketState,
    place: Place,
}

enum SocketState {
    New(TcpSocket),
    Connecting(Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>),
    /// The guest does not know yet.
    Decided(io::Result<TcpStream>),
    Connected(Arc<Connection>, Reader, Writer),
    Closed(ErrorCode),
}

impl Socket {
    pub(super) fn family(&self) -> IpAddressFamily {
        self.family
    }

    /// None while it connects, and where it never did.
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match &self.state {
            SocketState::New(socket) => Some(socket.as_fd()),
            SocketState::Connected(connection, ..) => Some(connection.stream.as_fd()),
            SocketState::Connecting(_) | SocketState::Decided(_) | SocketState::Closed(_) => None,
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let SocketState::Connecting(connecting) = &mut self.state {
            let decided = ready!(connecting.as_mut().poll(context));
            self.state = SocketState::Decided(decided);
        }
        Poll::Ready(())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Socket {
    async fn ready(&mut self) {
        std::future::poll_fn(|context| self.poll(context)).await;
    }
}

fn create_socket(
    state: &mut AttemptState,
    (family,): (IpAddressFamily,),
) -> Answer<Resource<Socket>> {
    state.current.tape.cannot_hold("a connection over TCP");
    let Some((_, open)) = state.open_sockets() else {
        return Ok(Err(state.deny()));
    };
    let Some(place) = open.take_place() else {
        let max = open.places_max;
        state.note(|queue| {
            format!("socket was refused: {max} are open, the limit in grants.tcp.connections_max of queue {queue}")
        });
        return Ok(Err(ErrorCode::NewSocketLimit));
    };
    let Some(ticket) = Ticket::take() else {
        state.note(|_| TooMany::OfAll.text());
        return Ok(Err(ErrorCode::NewSocketLimit));
    };
    let place = Arc::new((place, ticket));
    let socket = match family {
        IpAddressFamily::Ipv4 => TcpSocket::new_v4(),
        IpAddressFamily::Ipv6 => TcpSocket::new_v6(),
    };
    let socket = match socket {
        Ok(socket) => socket,
        Err(error) => return Ok(Err(error.into())),
    };
    let socket = Socket {
        family,
        state: SocketState::New(socket),
        place,
    };
    Ok(Ok(state.table.push(socket)?))
}

fn start_connect(
    state: &mut AttemptState,
    (socket, network, address): (Resource<Socket>, Resource<Network>, IpSocketAddress),
) -> Answer<()> {
    state.table.get(&network)?;
    let family = match state.table.get(&socket)? {
        Socket {
            family,
            state: SocketState::New(_),
            ..
        } => *family,
        Socket {
            state: SocketState::Connecting(_) | SocketState::Decided(_),
            ..
        } => return Ok(Err(ErrorCode::ConcurrencyConflict)),
        _ => return Ok(Err(ErrorCode::InvalidState)),
    };
    let address = SocketAddr::from(address);
    if !is_possible(address, family) {
        return Ok(Err(ErrorCode::InvalidArgument));
    }
    let Some((grant, open)) = state.open_sockets() else {
        return Ok(Err(ErrorCode::AccessDenied));
    };
    if let Err(refusal) = open.judge.connect(grant, address) {
        return Ok(Err(state.note_refusal(&refusal)));
    }
    let end = AttemptState::connected_by(grant);
    let socket = state.table.get_mut(&socket)?;
    let taken = std::mem::replace(&mut socket.state, SocketState::Closed(ErrorCode::Unknown));
    if let SocketState::New(new) = taken {
        // To the very address that was judged.
        socket.state = SocketState::Connecting(Box::pin(connect(new, address, end)));
    }
    Ok(Ok(()))
}

async fn connect(socket: TcpSocket, address: SocketAddr, end: Instant) -> io::Result<TcpStream> {
    let connected = timeout_at(end, socket.connect(address)).await;
    let stream = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
    // WASI has no option for it, so clients that want it cannot ask; each write is sent at once.
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// False for addresses of another family, and for those that stand for none or for many machines.
fn is_possible(address: SocketAddr, family: IpAddressFamily) -> bool {
    let fits = match (family, address.ip()) {
        (IpAddressFamily::Ipv4, IpAddr::V4(address)) => {
            !(address.is_multicast() || address.is_broadcast())
        }
        // An embedded IPv4 address would go to that one.
        (IpAddressFamily::Ipv6, IpAddr::V6(address)) => {
            !address.is_multicast() && address.to_ipv4_mapped().is_none()
        }
        _ => false,
    };
    fits && !address.ip().is_unspecified() && address.port() != 0
}

fn finish_connect(state: &mut AttemptState, (this,): This) -> Answer<Streams> {
    let bytes = match state.open_sockets() {
        Some((_, open)) => Arc::clone(&open.bytes),
        None => return Ok(Err(ErrorCode::AccessDenied)),
    };
    let socket = state.table.get_mut(&this)?;
    if socket
        .poll(&mut Context::from_waker(Waker::noop()))
        .is_pending()
    {
        return Ok(Err(ErrorCode::WouldBlock));
    }
    if !matches!(socket.state, SocketState::Decided(_)) {
        return Ok(Err(ErrorCode::NotInProgress));
    }
    let decided = std::mem::replace(&mut socket.state, SocketState::Closed(ErrorCode::Unknown));
    let stream = match decided {
        SocketState::Decided(Ok(stream)) => stream,
        SocketState::Decided(Err(error)) => {
            let code = ErrorCode::from(error);
            socket.state = SocketState::Closed(code);
            return Ok(Err(code));
        }
        _ => return Ok(Err(ErrorCode::NotInProgress)),
    };
    let connection = Arc::new(Connection {
        stream,
        bytes,
        _place: Arc::clone(&socket.place),
    });
    let reader = Reader::new(Arc::clone(&connection));
    let writer = Writer::new(Arc::clone(&connection));
    socket.state = SocketState::Connected(connection, reader.clone(), writer.clone());
    let input: DynInputStream = Box::new(reader);
    let output: DynOutputStream = Box::new(writer);
    let input = state.table.push_child(input, &this)?;
    let output = state.table.push_child(output, &this)?;
    Ok(Ok((input, output)))
}

fn address(
    state: &mut AttemptState,
    (socket,): This,
    of: fn(&TcpStream) -> io::Result<SocketAddr>,
) -> Answer<IpSocketAddress> {
    Ok(match &state.table.get(&socket)?.state {
        SocketState::Connected(connection, ..) => of(&connection.stream)
            .map(IpSocketAddress::from)
            .map_err(ErrorCode::from),
        SocketState::Closed(code) => Err(*code),
        _ => Err(ErrorCode::InvalidState),
    })
}

fn shutdown(
    state: &mut AttemptState,
    (socket, kind): (Resource<Socket>, ShutdownType),
) -> Answer<()> {
    let SocketState::Connected(_, reader, writer) = &state.table.get(&socket)?.state else {
        return Ok(Err(ErrorCode::InvalidState));
    };
    if matches!(kind, ShutdownType::Receive | ShutdownType::Both) {
        reader.shut();
    }
    if matches!(kind, ShutdownType::Send | ShutdownType::Both) {
        writer.shut();
    }
    Ok(Ok(()))
}
