//! The socket of a connection, which can be told to notice at once what arrives between two requests.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
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

/// The rests of a watched connection, which are numbered: times in which no request is under way. The request that ends one
/// must be sent only after a look at what has arrived.
struct Watched {
    /// The newest rest, which the pool counts.
    rest: Arc<AtomicU32>,
    /// The newest rest in which somebody has looked.
    looked: u32,
    /// The newest rest that has ended, with a write.
    ended: u32,
}

/// A connection to an address that was judged.
pub(super) struct Socket {
    stream: TcpStream,
    watched: Option<Watched>,
    /// Runs since a write has found the connection closed.
    cut: Option<Pin<Box<Sleep>>>,
}

impl Socket {
    pub(super) fn new(stream: TcpStream) -> Self {
        Socket {
            stream,
            watched: None,
            cut: None,
        }
    }

    /// From here on, a read while no request is under way returns all that has arrived. tokio alone reports only what had
    /// arrived when it last asked the system, and hyper would send the next request after an answer that belongs to no
    /// request.
    ///
    /// The pool adds one to the number that this returns when an exchange is over. A server may answer before it has the
    /// whole request, so neither an answer nor a write tells.
    pub(super) fn watch(&mut self) -> Arc<AtomicU32> {
        // The first request is preceded by a rest, too.
        let rest = Arc::new(AtomicU32::new(1));
        self.watched = Some(Watched {
            rest: Arc::clone(&rest),
            looked: 0,
            ended: 0,
        });
        rest
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

    /// hyper reads before it sends a request, but the pool may lend the connection between that read and the write. What has
    /// arrived by then can no longer be told from the answer.
    fn begin_to_write(&mut self) -> io::Result<()> {
        let is_unseen = self.watched.as_mut().is_some_and(Watched::ends);
        let look = RecvFlags::DONTWAIT | RecvFlags::PEEK;
        match is_unseen && matches!(recv(&self.stream, &mut [0], look), Ok((1.., _))) {
            true => Err(io::ErrorKind::ConnectionReset.into()),
            false => Ok(()),
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
            Poll::Ready(Err(error)) if self.watched.is_some() && is_cut(&error) => {
                let end = self.cut.get_or_insert_with(|| Box::pin(sleep(LAST_ANSWER)));
                end.as_mut().poll(context).map(|()| Err(error))
            }
            written => written,
        }
    }
}

impl Watched {
    /// Whether no request is under way. Then what is looked for next counts as looked for in this rest.
    fn looks(&mut self) -> bool {
        let rest = self.rest.load(Ordering::Acquire);
        let is_over = rest == self.ended;
        if !is_over {
            self.looked = rest;
        }
        !is_over
    }

    /// Notes that a request is being sent. Whether nobody has looked in the rest that it ends.
    fn ends(&mut self) -> bool {
        let rest = self.rest.load(Ordering::Acquire);
        let is_first_write = std::mem::replace(&mut self.ended, rest) != rest;
        is_first_write && self.looked != rest
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
        if let Some(watched) = &mut this.watched
            && watched.looks()
            && read.is_pending()
        {
            read = this.arrived(buffer);
        }
        if read.is_ready() {
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
        this.begin_to_write()?;
        let written = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.written(context, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.begin_to_write()?;
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

    /// Two ends of a connection, and what counts the rests of the first one.
    async fn watched() -> (Socket, Arc<AtomicU32>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut socket = Socket::new(TcpStream::connect(address).await.unwrap());
        let rests = socket.watch();
        let (peer, _) = listener.accept().await.unwrap();
        (socket, rests, peer)
    }

    /// Reads as hyper does before a request: without waiting.
    async fn look(socket: &mut Socket) -> Option<usize> {
        let mut bytes = [0; 16];
        let mut buffer = ReadBuf::new(&mut bytes);
        let read = std::future::poll_fn(|context| {
            Poll::Ready(Pin::new(&mut *socket).poll_read(context, &mut buffer))
        });
        match read.await {
            Poll::Ready(read) => read.map(|()| buffer.filled().len()).ok(),
            Poll::Pending => None,
        }
    }

    #[tokio::test]
    async fn nothing_is_written_after_what_arrived_unseen() {
        for rest in 0..20 {
            let (mut socket, rests, mut peer) = watched().await;
            for _ in 0..rest {
                assert_eq!(look(&mut socket).await, None);
                socket.write_all(b"request").await.unwrap();
                rests.fetch_add(1, Ordering::Release);
            }
            peer.write_all(b"unasked").await.unwrap();
            let written = socket.write_all(b"request").await;
            let kind = written.map_err(|error| error.kind());
            assert_eq!(kind, Err(io::ErrorKind::ConnectionReset));
        }
    }

    /// The system is asked, not tokio, which has not looked since the connection was made.
    #[tokio::test]
    async fn whoever_looks_in_a_rest_sees_all_that_has_arrived() {
        let (mut socket, rests, mut peer) = watched().await;
        for _ in 0..20 {
            assert_eq!(look(&mut socket).await, None);
            socket.write_all(b"request").await.unwrap();
            rests.fetch_add(1, Ordering::Release);
            peer.write_all(b"unasked").await.unwrap();
            assert_eq!(look(&mut socket).await, Some(7));
        }
    }

    /// Each look is a system call.
    #[tokio::test]
    async fn while_a_request_is_under_way_nobody_looks() {
        let (mut socket, rests, _peer) = watched().await;
        let looks = |socket: &mut Socket| socket.watched.as_mut().unwrap().looks();
        for _ in 0..3 {
            assert!(looks(&mut socket) && looks(&mut socket));
            socket.write_all(b"request").await.unwrap();
            assert!(!looks(&mut socket));
            socket.write_all(b"the rest of it").await.unwrap();
            assert!(!looks(&mut socket));
            rests.fetch_add(1, Ordering::Release);
        }
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
