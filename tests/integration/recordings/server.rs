//! A server that answers in many ways.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, post};

/// A running server.
pub(super) struct Server {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
}

impl Server {
    pub(super) async fn start() -> Self {
        let requests = Arc::<AtomicUsize>::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new()
            .route("/echo", post(async |body: Bytes| body))
            .route("/{*path}", any(answer))
            .with_state(Arc::clone(&requests));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Server { address, requests }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many requests came, those for an echo aside.
    pub(super) fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}

async fn answer(State(requests): State<Arc<AtomicUsize>>, Path(path): Path<String>) -> Response {
    requests.fetch_add(1, Ordering::Relaxed);
    match path.as_str() {
        "random" => fastrand::u64(..).to_string().into_response(),
        "503" => (StatusCode::SERVICE_UNAVAILABLE, "try later").into_response(),
        "slow" => {
            // Longer than the guest waits.
            tokio::time::sleep(Duration::from_secs(2)).await;
            "late".into_response()
        }
        "cut" => {
            let parts = [Ok("begun"), Err(std::io::Error::other("cut"))];
            Body::from_stream(futures_util::stream::iter(parts)).into_response()
        }
        "gone" => (StatusCode::GONE, [0xff_u8, 0xfe].to_vec()).into_response(),
        _ => "fine".into_response(),
    }
}
