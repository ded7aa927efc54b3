//! Servers of HTTP/2 that send frames without an end.

use super::tls::{Choice, HTTP2, Manner, TlsServer};
use super::*;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [&length[..], &[kind, flags], &stream.to_be_bytes()].concat();
    [head, payload.to_vec()].concat()
}

/// `:status` is 200.
const OK: &[u8] = &[0x88];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_without_an_end_hold_no_request_beyond_its_time_and_no_connection() {
    let head = frame(1, 4, 1, OK);
    let pad = [&[255][..], &[0; 255]].concat();
    let floods: Vec<(&str, Vec<u8>, Vec<u8>)> = vec![
        ("SETTINGS", vec![], frame(4, 0, 0, &[])),
        (
            "SETTINGS that change windows",
            vec![],
            [
                frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]),
                frame(4, 0, 0, &[0, 4, 127, 255, 255, 255]),
            ]
            .concat(),
        ),
        ("PING", vec![], frame(6, 0, 0, b"whatever")),
        ("PING answered", vec![], frame(6, 1, 0, b"whatever")),
        ("PRIORITY", vec![], frame(2, 0, 1, &[0, 0, 0, 3, 1])),
        ("unknown", vec![], frame(0xfa, 0, 1, b"whatever")),
        ("WINDOW_UPDATE", vec![], frame(8, 0, 0, &[0, 0, 0, 1])),
        (
            "WINDOW_UPDATE beyond all",
            vec![],
            frame(8, 0, 1, &[127, 255, 255, 255]),
        ),
        ("GOAWAY", vec![], frame(7, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0])),
        ("RST_STREAM", vec![], frame(3, 0, 1, &[0, 0, 0, 8])),
        ("PUSH_PROMISE", vec![], frame(5, 4, 1, &[0, 0, 0, 2, 0x82])),
        ("CONTINUATION", frame(1, 0, 1, OK), frame(9, 0, 1, &[])),
        (
            "CONTINUATION of headers",
            frame(1, 0, 1, OK),
            frame(
                9,
                0,
                1,
                &[0x0f, 0x0d, 0x04, b'a', b'b', b'c', b'd'].repeat(2_000),
            ),
        ),
        (
            "HEADERS of many headers",
            vec![],
            frame(1, 4, 1, &[OK, &[0x90; 16_000]].concat()),
        ),
        ("DATA that is empty", head.clone(), frame(0, 0, 1, &[])),
        ("DATA of padding", head.clone(), frame(0, 8, 1, &pad)),
        ("DATA of one byte", head.clone(), frame(0, 0, 1, b"x")),
        (
            "trailers",
            head.clone(),
            frame(1, 5, 1, &[0x40, 1, b'a', 1, b'b']),
        ),
        (
            "trailers without an end",
            head.clone(),
            frame(1, 4, 1, &[0x40, 1, b'a', 1, b'b']),
        ),
        ("DATA before HEADERS", vec![], frame(0, 0, 1, b"x")),
        ("DATA of another stream", vec![], frame(0, 0, 7, b"x")),
        (
            "frame that is too large",
            vec![],
            frame(0, 0, 1, &[0; 20_000]),
        ),
    ];
    for (what, first, more) in floods {
        let server = TlsServer::start(Choice {
            protocols: vec![b"h2".to_vec()],
            manner: Manner::Floods(first, more),
            ..HTTP2
        })
        .await;
        let tls = server.trusted(false);
        let pool = pool(HttpSettings { tls, ..settings() });
        let end = Instant::now() + Duration::from_millis(500);
        let times = Times {
            answered: end,
            ..patient()
        };
        let uri = server.uri();
        let to = target(&uri);
        let asked = request(Method::GET, &uri, None);
        let body = async {
            let sent = pool.send(&to, asked, times, &|_| true).await?;
            let (response, loan) = sent;
            let body = response.into_body().map_err(Error::from).boxed_unsync();
            let body = Bounded::new(body, BYTES_MAX, end, TOO_LARGE_RESPONSE).holding(loan);
            Ok::<_, Error>(body.collect().await?.to_bytes())
        };
        let body = timeout(PATIENCE, body).await.expect(what);
        assert!(is_ended(what, &body), "{what}: {body:?}");
        let is_closed = async {
            while server.seen.closings.load(Ordering::SeqCst) < server.handshakes() {
                server.seen.changed.notified().await;
            }
        };
        drop(pool);
        timeout(PATIENCE, is_closed).await.expect(what);
    }
}

/// Frames that mean nothing take the time of the request, and what breaks the rules ends it at once.
fn is_ended(what: &str, body: &Result<Bytes, Error>) -> bool {
    match body {
        Ok(body) => what == "trailers" && body.is_empty(),
        Err(Error::HttpResponseTimeout | Error::Hyper(_)) => true,
        Err(error) => what == "trailers without an end" && error.to_string().contains("interim"),
    }
}
