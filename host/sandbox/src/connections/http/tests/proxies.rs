//! Requests that go through the operator's proxy.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use wasmtime_wasi_http::Error;

use super::super::HttpSettings;
use super::servers::{Peer, RawServer, answer};
use super::{get, pool, settings};
use crate::connections::Proxy;

fn through(port: u16) -> HttpSettings {
    let proxy = Proxy::of(&format!("http://me:p%40ss@127.0.0.1:{port}"));
    HttpSettings {
        proxy: Some(proxy.unwrap()),
        ..settings()
    }
}

#[tokio::test]
async fn proxy_is_asked_for_the_whole_address_with_its_login() {
    let heads = Arc::<Mutex<Vec<String>>>::default();
    let noted = Arc::clone(&heads);
    let proxy = RawServer::start(move |mut peer: Peer| {
        let heads = Arc::clone(&noted);
        async move {
            while let Some(head) = peer.request().await {
                heads.lock().push(head);
                peer.send(&answer("", "by proxy")).await;
            }
        }
    })
    .await;
    let pool = pool(through(proxy.port));
    // Nobody but the proxy could resolve this name.
    for _ in 0..3 {
        let body = get(&pool, "http://prices.invalid/paint?a=b").await.unwrap();
        assert_eq!(body, "by proxy");
    }
    assert_eq!(proxy.connections(), 1);
    for head in heads.lock().iter() {
        assert!(
            head.starts_with("GET http://prices.invalid/paint?a=b HTTP/1.1\r\n"),
            "{head}"
        );
        // me:p@ss
        assert!(
            head.contains("proxy-authorization: Basic bWU6cEBzcw==\r\n"),
            "{head}"
        );
    }
}

#[tokio::test]
async fn proxy_opens_a_tunnel_for_tls_and_sees_nothing_of_it() {
    // It hears how TLS begins, and leaves.
    let inside = RawServer::start(|mut peer: Peer| async move { peer.some().await }).await;
    let port = inside.port;
    let heads = Arc::<Mutex<Vec<String>>>::default();
    let noted = Arc::clone(&heads);
    let proxy = RawServer::start(move |mut peer: Peer| {
        let heads = Arc::clone(&noted);
        async move {
            let Some(head) = peer.head().await else {
                return;
            };
            heads.lock().push(head);
            peer.send("HTTP/1.1 200 Connection established\r\n\r\n")
                .await;
            let mut server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            let _ = copy_bidirectional(&mut peer.into_stream(), &mut server).await;
        }
    })
    .await;
    let settings = through(proxy.port);
    let pool = pool(settings);
    let uri = format!("https://prices.invalid:{port}/");
    let request = super::request(http::Method::GET, &uri, None);
    // No address is judged: the proxy looks them up.
    let target = super::target(&uri);
    let sent = pool
        .send(&target, request, super::patient(), &|_| false)
        .await;
    assert!(matches!(sent, Err(Error::Tls(_))));
    let heads = heads.lock();
    let head = heads.first().unwrap();
    assert!(
        head.starts_with(&format!("CONNECT prices.invalid:{port} HTTP/1.1\r\n")),
        "{head}"
    );
    assert!(
        head.to_lowercase().contains("proxy-authorization: basic"),
        "{head}"
    );
    assert_eq!(inside.connections(), 1);
}
