//! Servers that say exactly what a test tells them to.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::PATIENCE;

/// A response of status 200 with these headers, each with its line's end.
pub(super) fn answer(headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\n{headers}content-length: {length}\r\n\r\n{body}")
}

/// A server that hands each connection to a function.
pub(super) struct RawServer {
    pub(super) port: u16,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    closings: AtomicUsize,
    changed: Notify,
}

/// A client that is connected.
pub(super) struct Peer {
    stream: TcpStream,
    read: Vec<u8>,
}

impl RawServer {
    pub(super) async fn start<F, H>(handle: H) -> Self
    where
        F: Future<Output = ()> + Send,
        H: Fn(Peer) -> F + Clone + Send + 'static,
    {
        Self::start_at("127.0.0.1:0", handle).await
    }

    pub(super) async fn start_at<F, H>(address: &str, handle: H) -> Self
    where
        F: Future<Output = ()> + Send,
        H: Fn(Peer) -> F + Clone + Send + 'static,
    {
        let listener = TcpListener::bind(address).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::<Seen>::default();
        let counted = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.connections.fetch_add(1, Ordering::SeqCst);
                let (seen, handle) = (Arc::clone(&counted), handle.clone());
                tokio::spawn(async move {
                    let read = Vec::new();
                    handle(Peer { stream, read }).await;
                    seen.closings.fetch_add(1, Ordering::SeqCst);
                    seen.changed.notify_waiters();
                });
            }
        });
        RawServer { port, seen }
    }

    pub(super) fn uri(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub(super) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    pub(super) fn closings(&self) -> usize {
        self.seen.closings.load(Ordering::SeqCst)
    }

    /// Waits until so many connections have ended.
    pub(super) async fn closed(&self, count: usize) {
        self.until(|seen| seen.closings.load(Ordering::SeqCst) >= count)
            .await;
    }

    /// Waits until no more connections are open than that.
    pub(super) async fn open_at_most(&self, count: usize) {
        let open = |seen: &Seen| {
            let closings = seen.closings.load(Ordering::SeqCst);
            seen.connections.load(Ordering::SeqCst) - closings
        };
        self.until(|seen| open(seen) <= count).await;
    }

    pub(super) async fn all_closed(&self) {
        let all = |seen: &Seen| {
            seen.closings.load(Ordering::SeqCst) == seen.connections.load(Ordering::SeqCst)
        };
        self.until(all).await;
    }

    async fn until(&self, is_so: impl Fn(&Seen) -> bool) {
        let waiting = async {
            loop {
                let changed = self.seen.changed.notified();
                if is_so(&self.seen) {
                    return;
                }
                changed.await;
            }
        };
        timeout(PATIENCE, waiting)
            .await
            .expect("the client closes its connections");
    }
}

impl Peer {
    /// The head of the next request, or `None` at the end of the connection.
    pub(super) async fn head(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                let rest = self.read.split_off(end + 4);
                let head = std::mem::replace(&mut self.read, rest);
                return String::from_utf8(head).ok();
            }
            match self.stream.read_buf(&mut self.read).await {
                Ok(read) if read > 0 => {}
                _ => return None,
            }
        }
    }

    /// The head of a request, and nothing that comes after it.
    pub(super) async fn head_alone(&mut self) {
        let mut byte = [0];
        while !self.read.ends_with(b"\r\n\r\n") {
            match self.stream.read(&mut byte).await {
                Ok(read) if read > 0 => self.read.extend_from_slice(&byte),
                _ => return,
            }
        }
    }

    /// The head of the next request, whose body, of a size that the head names, is read as well.
    pub(super) async fn request(&mut self) -> Option<String> {
        let head = self.head().await?;
        let length = head.to_ascii_lowercase();
        let length = length.split("content-length: ").nth(1);
        let length = length.and_then(|rest| rest.lines().next()?.parse().ok());
        let length: usize = length.unwrap_or(0);
        while self.read.len() < length {
            if self.stream.read_buf(&mut self.read).await.ok()? == 0 {
                return None;
            }
        }
        self.read.drain(..length);
        Some(head)
    }

    /// What is left of a request whose body has chunks.
    pub(super) async fn last_chunk(&mut self) {
        while !self.read.ends_with(b"0\r\n\r\n") {
            match self.stream.read_buf(&mut self.read).await {
                Ok(read) if read > 0 => {}
                _ => return,
            }
        }
    }

    /// Whatever comes first.
    pub(super) async fn some(&mut self) {
        let _ = self.stream.read_buf(&mut self.read).await;
    }

    pub(super) async fn send(&mut self, text: &str) {
        let _ = self.try_send(text).await;
    }

    /// False once the connection is gone.
    pub(super) async fn try_send(&mut self, text: &str) -> bool {
        self.stream.write_all(text.as_bytes()).await.is_ok()
    }

    /// Waits until the client has closed the connection.
    pub(super) async fn closed(&mut self) {
        let mut rest = [0; 1024];
        while self.stream.read(&mut rest).await.is_ok_and(|read| read > 0) {}
    }

    pub(super) fn into_stream(self) -> TcpStream {
        self.stream
    }
}
