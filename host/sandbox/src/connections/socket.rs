//! The socket of a connection, which can be told to notice at once what arrives between two requests.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

/// What is read at once where nothing should be.
const UNEXPECTED_BYTES: usize = 256;
/// How long what a server said last may take to be read once it has closed the connection.
const LAST_ANSWER: Duration = Duration::from_secs(30);

/// A connection to an address that was judged.
pub(super) struct Socket {
    stream: TcpStream,
    is_watched: bool,
    /// Something was sent since something was read: what arrives next is expected.
    is_asked: Arc<AtomicBool>,
    /// Runs since a write has found the connection closed.
    cut: Option<Pin<Box<Sleep>>>,
}

impl Socket {
    pub(super) fn new(stream: TcpStream) -> Self {
        Socket {
            stream,
            is_watched: false,
            is_asked: Arc::default(),
            cut: None,
        }
    }

    /// From here on, a read between an answer and the next request returns all that has arrived. tokio alone reports only
    /// what had arrived when it last asked the system, and hyper would send the next request after an answer that belongs
    /// to no request.
    ///
    /// The flag that this returns says that an answer is expected. A server may answer before it has the whole request. The
    /// rest of the request then sets the flag again, so the pool clears it when the exchange is over.
    pub(super) fn watch(&mut self) -> Arc<AtomicBool> {
        self.is_watched = true;
        // The handshake of TLS may have ended with a write.
        self.is_asked.store(false, Ordering::Release);
        Arc::clone(&self.is_asked)
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
    /// unread. It waits only so long, because there may be no reader: one that gives up the answer of a connection with TLS
    /// writes before it closes it, and one whose buffer is full reads nothing until it has written.
    fn written(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Err(error)) if self.is_watched && is_cut(&error) => {
                let end = self.cut.get_or_insert_with(|| Box::pin(sleep(LAST_ANSWER)));
                end.as_mut().poll(context).map(|()| Err(error))
            }
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
        if read.is_pending() && this.is_watched && !this.is_asked.load(Ordering::Acquire) {
            read = this.arrived(buffer);
        }
        if read.is_ready() {
            this.is_asked.store(false, Ordering::Release);
            // The last answer is still being read.
            this.cut = None;
        }
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
        this.is_asked.store(true, Ordering::Release);
        let written = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.written(context, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.is_asked.store(true, Ordering::Release);
        let written = Pin::new(&mut this.stream).poll_write_vectored(context, bytes);
        this.written(context, written)
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::time::{Instant, timeout};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    /// A socket whose other end was closed after it had sent this, with something unread: it resets the connection.
    async fn cut_after(text: &str) -> Socket {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stream = TcpStream::connect(address).await.unwrap();
        let (mut peer, _) = listener.accept().await.unwrap();
        let mut socket = Socket::new(stream);
        socket.watch();
        socket.write_all(b"request").await.unwrap();
        peer.readable().await.unwrap();
        peer.write_all(text.as_bytes()).await.unwrap();
        drop(peer);
        socket
    }

    /// Writes until the connection is found closed, which is told to nobody yet.
    async fn write_once_cut(socket: &mut Socket) {
        while socket.cut.is_none() {
            let once = std::future::poll_fn(|context| {
                let written = Pin::new(&mut *socket).poll_write(context, b"more");
                assert!(!matches!(written, Poll::Ready(Err(_))), "{written:?}");
                Poll::Ready(())
            });
            once.await;
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn answer_can_be_read_after_a_write_that_failed() {
        let mut socket = cut_after("last").await;
        write_once_cut(&mut socket).await;
        let mut read = [0; 4];
        socket.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"last");
    }

    /// Nobody reads: without an end of its own, the write would keep the connection for good.
    #[tokio::test]
    async fn write_that_failed_ends() {
        let mut socket = cut_after("last").await;
        write_once_cut(&mut socket).await;
        let end = socket.cut.as_mut().unwrap();
        assert!(end.deadline() <= Instant::now() + LAST_ANSWER);
        end.as_mut()
            .reset(Instant::now() + Duration::from_millis(50));
        let written = timeout(PATIENCE, socket.write_all(b"more")).await.unwrap();
        assert!(is_cut(&written.unwrap_err()));
    }
}
