//! A server that counts what it is asked, and can hold an answer back.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use tokio::sync::watch;

/// Hears of each request, before it is answered.
type Heard = Box<dyn FnMut(&str) + Send>;

#[derive(Default)]
struct Book {
    counts: HashMap<String, u64>,
    gates: HashMap<String, Gate>,
    heard: Option<Heard>,
}

/// A running server.
pub(super) struct Server {
    address: SocketAddr,
    book: Arc<Mutex<Book>>,
}

/// Holds the first request for a path back.
#[derive(Clone)]
pub(super) struct Gate {
    reached: watch::Sender<bool>,
    open: watch::Sender<bool>,
}

impl Gate {
    pub(super) async fn reached(&self) {
        let mut reached = self.reached.subscribe();
        reached.wait_for(|reached| *reached).await.unwrap();
    }

    pub(super) fn open(&self) {
        self.open.send_replace(true);
    }
}

impl Server {
    pub(super) async fn start() -> Self {
        let book = Arc::<Mutex<Book>>::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new()
            .route("/{*path}", get(answer))
            .with_state(Arc::clone(&book));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Server { address, book }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn count(&self, path: &str) -> u64 {
        self.book
            .lock()
            .unwrap()
            .counts
            .get(path)
            .copied()
            .unwrap_or(0)
    }

    pub(super) fn hold(&self, path: &str) -> Gate {
        let gate = Gate {
            reached: watch::Sender::new(false),
            open: watch::Sender::new(false),
        };
        let mut book = self.book.lock().unwrap();
        book.gates.insert(path.to_owned(), gate.clone());
        gate
    }

    pub(super) fn hear(&self, heard: Heard) {
        self.book.lock().unwrap().heard = Some(heard);
    }
}

async fn answer(State(book): State<Arc<Mutex<Book>>>, Path(path): Path<String>) {
    let gate = {
        let mut book = book.lock().unwrap();
        *book.counts.entry(path.clone()).or_default() += 1;
        if let Some(heard) = &mut book.heard {
            heard(&path);
        }
        book.gates.remove(&path)
    };
    if let Some(gate) = gate {
        gate.reached.send_replace(true);
        gate.open.subscribe().wait_for(|open| *open).await.unwrap();
    }
}
