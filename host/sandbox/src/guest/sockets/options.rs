//! The options of a socket that WASI knows, as the system has them.

use std::time::Duration;

use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use rustix::net::sockopt;
use wasmtime::component::{ComponentType, Linker, LinkerInstance, Lower, Resource};
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, IpAddressFamily};

use super::tcp::{Socket, TCP};
use super::{Answer, add};
use crate::guest::AttemptState;

/// What a guest may ask the system to buffer for a socket, in bytes.
const BUFFER_MAX: u64 = 256 * 1024;
/// Seconds and numbers of probes that every system takes.
const SECONDS_MAX: u64 = i16::MAX as u64;
const PROBES_MAX: u32 = i8::MAX as u32;

type This = (Resource<Socket>,);

/// Adds them to the interface that has the rest of the socket.
pub(super) fn add_to_linker(linker: &mut Linker<AttemptState>) -> wasmtime::Result<()> {
    let mut tcp = linker.instance(TCP)?;
    add_keep_alive(&mut tcp)?;
    add(&mut tcp, "[method]tcp-socket.hop-limit", |state, this| {
        get(state, this, |socket, fd| match socket.family() {
            IpAddressFamily::Ipv4 => Ok(u8::try_from(sockopt::ip_ttl(fd)?).unwrap_or(u8::MAX)),
            IpAddressFamily::Ipv6 => sockopt::ipv6_unicast_hops(fd),
        })
    })?;
    add(
        &mut tcp,
        "[method]tcp-socket.set-hop-limit",
        |state, call| {
            set(state, call, |socket, fd, hops: u8| match socket.family() {
                _ if hops == 0 => Err(Errno::INVAL),
                IpAddressFamily::Ipv4 => sockopt::set_ip_ttl(fd, hops.into()),
                IpAddressFamily::Ipv6 => sockopt::set_ipv6_unicast_hops(fd, Some(hops)),
            })
        },
    )?;
    add(
        &mut tcp,
        "[method]tcp-socket.receive-buffer-size",
        |state, this| {
            get(state, this, |_, fd| {
                Ok(sockopt::socket_recv_buffer_size(fd)? as u64)
            })
        },
    )?;
    add(
        &mut tcp,
        "[method]tcp-socket.set-receive-buffer-size",
        |state, call| {
            set(state, call, |_, fd, bytes| {
                sockopt::set_socket_recv_buffer_size(fd, buffer(bytes)?)
            })
        },
    )?;
    add(
        &mut tcp,
        "[method]tcp-socket.send-buffer-size",
        |state, this| {
            get(state, this, |_, fd| {
                Ok(sockopt::socket_send_buffer_size(fd)? as u64)
            })
        },
    )?;
    add(
        &mut tcp,
        "[method]tcp-socket.set-send-buffer-size",
        |state, call| {
            set(state, call, |_, fd, bytes| {
                sockopt::set_socket_send_buffer_size(fd, buffer(bytes)?)
            })
        },
    )
}

fn add_keep_alive(tcp: &mut LinkerInstance<'_, AttemptState>) -> wasmtime::Result<()> {
    add(
        tcp,
        "[method]tcp-socket.keep-alive-enabled",
        |state, this| get(state, this, |_, fd| sockopt::socket_keepalive(fd)),
    )?;
    add(
        tcp,
        "[method]tcp-socket.set-keep-alive-enabled",
        |state, call| {
            set(state, call, |_, fd, is_on| {
                sockopt::set_socket_keepalive(fd, is_on)
            })
        },
    )?;
    add(
        tcp,
        "[method]tcp-socket.keep-alive-idle-time",
        |state, this| {
            get(state, this, |_, fd| {
                Ok(nanoseconds(sockopt::tcp_keepidle(fd)?))
            })
        },
    )?;
    add(
        tcp,
        "[method]tcp-socket.set-keep-alive-idle-time",
        |state, call| {
            set(state, call, |_, fd, time| {
                sockopt::set_tcp_keepidle(fd, seconds(time)?)
            })
        },
    )?;
    add(
        tcp,
        "[method]tcp-socket.keep-alive-interval",
        |state, this| {
            get(state, this, |_, fd| {
                Ok(nanoseconds(sockopt::tcp_keepintvl(fd)?))
            })
        },
    )?;
    add(
        tcp,
        "[method]tcp-socket.set-keep-alive-interval",
        |state, call| {
            set(state, call, |_, fd, time| {
                sockopt::set_tcp_keepintvl(fd, seconds(time)?)
            })
        },
    )?;
    add(tcp, "[method]tcp-socket.keep-alive-count", |state, this| {
        get(state, this, |_, fd| sockopt::tcp_keepcnt(fd))
    })?;
    add(
        tcp,
        "[method]tcp-socket.set-keep-alive-count",
        |state, call| {
            set(state, call, |_, fd, probes: u32| match probes {
                0 => Err(Errno::INVAL),
                probes => sockopt::set_tcp_keepcnt(fd, probes.min(PROBES_MAX)),
            })
        },
    )
}

fn get<T: ComponentType + Lower>(
    state: &mut AttemptState,
    (socket,): This,
    read: fn(&Socket, BorrowedFd<'_>) -> Result<T, Errno>,
) -> Answer<T> {
    let socket = state.table.get(&socket)?;
    let Some(fd) = socket.descriptor() else {
        return Ok(Err(ErrorCode::InvalidState));
    };
    Ok(read(socket, fd).map_err(ErrorCode::from))
}

fn set<T>(
    state: &mut AttemptState,
    (socket, value): (Resource<Socket>, T),
    write: fn(&Socket, BorrowedFd<'_>, T) -> Result<(), Errno>,
) -> Answer<()> {
    let socket = state.table.get(&socket)?;
    let Some(fd) = socket.descriptor() else {
        return Ok(Err(ErrorCode::InvalidState));
    };
    Ok(write(socket, fd, value).map_err(ErrorCode::from))
}

fn buffer(bytes: u64) -> Result<usize, Errno> {
    match bytes {
        0 => Err(Errno::INVAL),
        bytes => Ok(bytes.min(BUFFER_MAX) as usize),
    }
}

fn nanoseconds(time: Duration) -> u64 {
    time.as_nanos().try_into().unwrap_or(u64::MAX)
}

fn seconds(nanoseconds: u64) -> Result<Duration, Errno> {
    match nanoseconds {
        0 => Err(Errno::INVAL),
        time => {
            let seconds = Duration::from_nanos(time).as_secs();
            Ok(Duration::from_secs(seconds.clamp(1, SECONDS_MAX)))
        }
    }
}
