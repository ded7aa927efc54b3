//! The two directions of a connection, as `wasi:io` has streams. What they carry is counted.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use parking_lot::Mutex;
use rustix::net::Shutdown;
use tokio::net::TcpStream;
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};
use wasmtime_wasi::runtime::{AbortOnDropJoinHandle, spawn};

use super::Place;

/// What one call reads or writes at most, and so what the host buffers for a connection, in bytes.
const CHUNK_MAX: usize = 64 * 1024;

/// A connected socket. Closed when nothing holds it any more.
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    pub(super) bytes: Arc<super::Bytes>,
    pub(super) _place: Place,
}

impl Connection {
    fn shut(&self, how: Shutdown) {
        // Fails where the other side was first, which is the same.
        let _ = rustix::net::shutdown(&self.stream, how);
    }
}

fn trap(error: impl std::error::Error + Send + Sync + 'static) -> StreamError {
    StreamError::Trap(wasmtime::Error::new(error))
}

fn failed(error: io::Error) -> StreamError {
    match error.kind() {
        io::ErrorKind::BrokenPipe => StreamError::Closed,
        _ => StreamError::LastOperationFailed(error.into()),
    }
}

/// What a guest receives. The socket has another one of the same stream.
#[derive(Clone)]
pub(super) struct Reader {
    connection: Arc<Connection>,
    is_closed: Arc<AtomicBool>,
}

impl Reader {
    pub(super) fn new(connection: Arc<Connection>) -> Self {
        Reader {
            connection,
            is_closed: Arc::default(),
        }
    }

    pub(super) fn shut(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
        self.connection.shut(Shutdown::Read);
    }

    fn close(&self, error: StreamError) -> StreamError {
        self.is_closed.store(true, Ordering::Relaxed);
        error
    }
}

#[wasmtime_wasi::async_trait]
impl InputStream for Reader {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if self.is_closed.load(Ordering::Relaxed) {
            return Err(StreamError::Closed);
        }
        if size == 0 {
            return Ok(Bytes::new());
        }
        let max = size.min(CHUNK_MAX);
        let mut buffer = BytesMut::with_capacity(max).limit(max);
        match self.connection.stream.try_read_buf(&mut buffer) {
            Ok(0) => Err(self.close(StreamError::Closed)),
            Ok(count) => {
                self.connection.bytes.receive(count).map_err(trap)?;
                Ok(buffer.into_inner().freeze())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Bytes::new()),
            Err(error) => Err(self.close(failed(error))),
        }
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Reader {
    async fn ready(&mut self) {
        if !self.is_closed.load(Ordering::Relaxed) {
            // An error shows when it is read.
            let _ = self.connection.stream.readable().await;
        }
    }
}

/// What a guest sends. The socket has another one of the same stream.
#[derive(Clone)]
pub(super) struct Writer {
    connection: Arc<Connection>,
    state: Arc<Mutex<Writing>>,
}

enum Writing {
    Idle,
    /// The system did not take all of the last chunk. A task writes the rest, whether the guest waits or not.
    Busy(AbortOnDropJoinHandle<io::Result<()>>, Then),
    Failed(io::Error),
    Closed,
}

#[derive(Clone, Copy)]
enum Then {
    GoOn,
    Close,
}

impl Writer {
    pub(super) fn new(connection: Arc<Connection>) -> Self {
        Writer {
            connection,
            state: Arc::new(Mutex::new(Writing::Idle)),
        }
    }

    /// Sends nothing after what was written.
    pub(super) fn shut(&self) {
        let mut state = self.state.lock();
        *state = match std::mem::replace(&mut *state, Writing::Closed) {
            Writing::Idle => {
                self.connection.shut(Shutdown::Write);
                Writing::Closed
            }
            Writing::Busy(mut task, _) => {
                let connection = Arc::clone(&self.connection);
                let shut = async move {
                    let written = Pin::new(&mut *task).await;
                    connection.shut(Shutdown::Write);
                    written.unwrap_or_else(|error| Err(io::Error::other(error)))
                };
                Writing::Busy(spawn(shut), Then::Close)
            }
            ended => ended,
        };
    }

    /// Ready once the next chunk can be written, and where none ever can.
    fn poll(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state.lock();
        if let Writing::Busy(task, then) = &mut *state {
            // Through the handle inside, whose task may have been cancelled by a host that ends.
            let written = ready!(Pin::new(&mut **task).poll(context));
            let written = written.unwrap_or_else(|error| Err(io::Error::other(error)));
            *state = match (written, then) {
                (Err(error), _) => Writing::Failed(error),
                (Ok(()), Then::GoOn) => Writing::Idle,
                (Ok(()), Then::Close) => Writing::Closed,
            };
        }
        match &*state {
            Writing::Idle => self.connection.stream.poll_write_ready(context).map(|_| ()),
            _ => Poll::Ready(()),
        }
    }

    /// True if the next chunk can be written.
    fn is_ready(&self) -> StreamResult<bool> {
        let ready = self.poll(&mut Context::from_waker(Waker::noop()));
        let mut state = self.state.lock();
        match &*state {
            Writing::Idle => Ok(ready.is_ready()),
            Writing::Busy(..) => Ok(false),
            Writing::Closed => Err(StreamError::Closed),
            Writing::Failed(_) => match std::mem::replace(&mut *state, Writing::Closed) {
                Writing::Failed(error) => Err(failed(error)),
                _ => Err(StreamError::Closed),
            },
        }
    }
}

/// Writes all of it, however long the other side takes.
async fn write_all(connection: Arc<Connection>, mut bytes: Bytes) -> io::Result<()> {
    while !bytes.is_empty() {
        connection.stream.writable().await?;
        match connection.stream.try_write(&bytes) {
            Ok(count) => bytes.advance(count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[wasmtime_wasi::async_trait]
impl OutputStream for Writer {
    fn write(&mut self, mut bytes: Bytes) -> StreamResult<()> {
        if bytes.len() > CHUNK_MAX {
            return Err(StreamError::trap(
                "more was written than `check-write` permitted",
            ));
        }
        let mut state = self.state.lock();
        match &*state {
            Writing::Idle => {}
            Writing::Busy(..) => {
                return Err(StreamError::trap("`check-write` permitted no write"));
            }
            Writing::Failed(_) | Writing::Closed => return Err(StreamError::Closed),
        }
        self.connection.bytes.send(bytes.len()).map_err(trap)?;
        match self.connection.stream.try_write(&bytes) {
            Ok(count) => bytes.advance(count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                *state = Writing::Closed;
                return Err(failed(error));
            }
        }
        if !bytes.is_empty() {
            let rest = write_all(Arc::clone(&self.connection), bytes);
            *state = Writing::Busy(spawn(rest), Then::GoOn);
        }
        Ok(())
    }

    /// Refuses a number that would be allocated first.
    fn write_zeroes(&mut self, count: usize) -> StreamResult<()> {
        if count > CHUNK_MAX {
            return Err(StreamError::trap(
                "more was written than `check-write` permitted",
            ));
        }
        self.write(Bytes::from(vec![0; count]))
    }

    fn flush(&mut self) -> StreamResult<()> {
        // What was written is on its way.
        match &*self.state.lock() {
            Writing::Closed => Err(StreamError::Closed),
            _ => Ok(()),
        }
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(if self.is_ready()? { CHUNK_MAX } else { 0 })
    }

    /// Called when the guest drops the stream: what it wrote is not lost.
    async fn cancel(&mut self) {
        let is_busy = matches!(&*self.state.lock(), Writing::Busy(..));
        if is_busy {
            self.ready().await;
        }
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Writer {
    async fn ready(&mut self) {
        std::future::poll_fn(|context| self.poll(context)).await;
    }
}
