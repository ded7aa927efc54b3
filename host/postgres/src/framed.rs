//! Messages of the server, each judged by its length before it is read, and messages to it.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;
use postgres_protocol::message::backend::{Header, Message};
use postgres_protocol::message::frontend;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

/// Room for what comes with one read.
const READ_BYTES: usize = 8 * 1024;
/// Messages other than rows: errors, descriptions of 1,664 columns at most, parameters.
pub(crate) const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// A buffer that grew for one large message is not kept.
const KEPT_BYTES_MAX: usize = 64 * 1024;

/// A connection to a server, encrypted or not.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {
    fn socket(&self) -> BorrowedFd<'_>;
}

impl Stream for TcpStream {
    fn socket(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }
}

impl Stream for UnixStream {
    fn socket(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }
}

impl Stream for TlsStream<TcpStream> {
    fn socket(&self) -> BorrowedFd<'_> {
        self.get_ref().0.as_fd()
    }
}

/// A connection, as messages.
pub(crate) struct Framed {
    stream: Box<dyn Stream>,
    read: BytesMut,
    /// What is to be sent next.
    pub(crate) out: BytesMut,
}

/// A message that was not read.
pub(crate) enum NotRead {
    Io(io::Error),
    /// It is no message of Postgres.
    Invalid(io::Error),
    /// It has this many bytes, and it is a row.
    RowTooLong(usize),
    /// It has this many bytes, and it is something else.
    TooLong(usize),
}

impl From<io::Error> for NotRead {
    fn from(error: io::Error) -> Self {
        NotRead::Io(error)
    }
}

impl Framed {
    pub(crate) fn new(stream: Box<dyn Stream>) -> Self {
        Framed {
            stream,
            read: BytesMut::new(),
            out: BytesMut::new(),
        }
    }

    /// Sends what is in `out`.
    pub(crate) async fn send(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.out).await?;
        self.stream.flush().await?;
        self.out.clear();
        if self.out.capacity() > KEPT_BYTES_MAX {
            self.out = BytesMut::new();
        }
        Ok(())
    }

    /// The next message, if it is a row of at most `row_bytes_max` or another one of usual size. May be dropped and called
    /// again: no byte is lost.
    pub(crate) async fn next(&mut self, row_bytes_max: usize) -> Result<Message, NotRead> {
        loop {
            let wanted = match Header::parse(&self.read).map_err(NotRead::Invalid)? {
                Some(header) => {
                    let length = usize::try_from(header.len()).unwrap_or(usize::MAX);
                    match header.tag() {
                        b'D' if length > row_bytes_max => return Err(NotRead::RowTooLong(length)),
                        b'D' => {}
                        _ if length > MESSAGE_BYTES_MAX => return Err(NotRead::TooLong(length)),
                        _ => {}
                    }
                    length + 1
                }
                None => 5,
            };
            if self.read.len() >= wanted
                && let Some(message) = Message::parse(&mut self.read).map_err(NotRead::Invalid)?
            {
                self.shrink();
                return Ok(message);
            }
            let missing = wanted.saturating_sub(self.read.len());
            self.read.reserve(missing.max(READ_BYTES));
            if self.stream.read_buf(&mut self.read).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
    }

    fn shrink(&mut self) {
        if self.read.is_empty() && self.read.capacity() > KEPT_BYTES_MAX {
            self.read = BytesMut::new();
        }
    }

    /// True if the server sent nothing and has not closed the connection, as it is with one that nobody uses.
    pub(crate) fn is_quiet(&mut self) -> bool {
        let mut room = [0; 1];
        let mut room = ReadBuf::new(&mut room);
        let mut context = Context::from_waker(Waker::noop());
        let read = Pin::new(&mut self.stream).poll_read(&mut context, &mut room);
        self.read.is_empty() && read.is_pending() && !has_arrived(self.stream.socket())
    }

    /// Says goodbye, as far as that is possible without waiting.
    pub(crate) fn terminate(&mut self) {
        self.out.clear();
        frontend::terminate(&mut self.out);
        let mut context = Context::from_waker(Waker::noop());
        let sent = pin!(self.send()).as_mut().poll(&mut context);
        // A peer that takes nothing sees the connection closed.
        if let Poll::Ready(Err(_)) | Poll::Pending = sent {}
    }
}

/// True if there is something to read, or the end. Asks the system: tokio reports what had arrived when it last did.
fn has_arrived(socket: BorrowedFd<'_>) -> bool {
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    !matches!(recv(socket, &mut [0], flags), Err(Errno::WOULDBLOCK))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (Framed, std::net::TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await;
        let (peer, _) = listener.accept().await.unwrap();
        (
            Framed::new(Box::new(stream.unwrap())),
            peer.into_std().unwrap(),
        )
    }

    /// Nothing is awaited in between, so that tokio hears of nothing.
    #[tokio::test]
    async fn session_is_not_quiet_once_something_has_arrived() {
        let (mut framed, peer) = pair().await;
        assert!(framed.is_quiet());
        drop(peer);
        assert!(!framed.is_quiet(), "the server closed the connection");
        let (mut framed, mut peer) = pair().await;
        assert!(framed.is_quiet());
        peer.write_all(b"N").unwrap();
        assert!(!framed.is_quiet(), "the server said something");
    }
}
