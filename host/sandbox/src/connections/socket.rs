//! The socket of a connection, which can be told to notice at once what arrives between two requests.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// What is read at once where nothing should be.
const UNEXPECTED_BYTES: usize = 256;

/// A connection to an address that was judged.
pub(super) struct Socket {
    stream: TcpStream,
    is_watched: bool,
    /// Something was sent since something was read: what arrives next is expected.
    is_asked: bool,
}

impl Socket {
    pub(super) fn new(stream: TcpStream) -> Self {
        Socket {
            stream,
            is_watched: false,
            is_asked: false,
        }
    }

    /// From here on, whoever reads between an answer and the next request sees all that has arrived. tokio alone reports
    /// only what had arrived when it last asked the system, so that the next request would be sent after an answer that
    /// belongs to no request.
    pub(super) fn watch(&mut self) {
        self.is_watched = true;
    }

    /// Asks the system itself.
    fn arrived(&self, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let room = buffer.remaining().min(UNEXPECTED_BYTES);
        let part = buffer.initialize_unfilled_to(room);
        match recv(&self.stream, part, RecvFlags::DONTWAIT) {
            Ok((read, _)) => {
                buffer.advance(read);
                Poll::Ready(Ok(()))
            }
            // tokio wakes the reader when there is something.
            Err(Errno::WOULDBLOCK | Errno::INTR) => Poll::Pending,
            Err(error) => Poll::Ready(Err(error.into())),
        }
    }

    /// A server may answer and close the connection before it has read the request. The reader finds first what it said and
    /// then the end, so nothing is lost if a failed write waits; as an error it would end the connection with the answer
    /// unread.
    fn written(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Err(error)) if self.is_watched && is_cut(&error) => Poll::Pending,
            written => written,
        }
    }
}

fn is_cut(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
    matches!(
        error.kind(),
        BrokenPipe | ConnectionAborted | ConnectionReset
    )
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let mut read = Pin::new(&mut this.stream).poll_read(context, buffer);
        if read.is_pending() && this.is_watched && !this.is_asked {
            read = this.arrived(buffer);
        }
        this.is_asked &= read.is_pending();
        read
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.is_asked = true;
        let written = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.written(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.is_asked = true;
        let written = Pin::new(&mut this.stream).poll_write_vectored(context, bytes);
        this.written(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
