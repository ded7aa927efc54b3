//! Answers by HTTP/1.1 that break the rules, or have what nobody asked for.

use super::*;

/// An answer ends with what it says, or with an error; nothing that came with it is taken for the answer to the next
/// request.
#[tokio::test]
async fn answers_that_break_the_rules_end_alone() {
    const TAIL: &str = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison";
    let long = "x".repeat(1 << 20);
    let many: String = (0..1_000).map(|n| format!("a{n}: b\r\n")).collect();
    let no_body = "content-length: 6\r\n\r\npoison";
    let chunked = "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n";
    let answers: Vec<(&str, &str, String, Option<&str>)> = vec![
        (
            "both lengths",
            "GET",
            format!("200 OK\r\ncontent-length: 3\r\n{chunked}\r\n"),
            Some("hello"),
        ),
        (
            "two lengths",
            "GET",
            "200 OK\r\ncontent-length: 3\r\ncontent-length: 5\r\n\r\nhello".into(),
            None,
        ),
        (
            "list of lengths",
            "GET",
            "200 OK\r\ncontent-length: 3, 5\r\n\r\nhello".into(),
            None,
        ),
        (
            "length with a sign",
            "GET",
            "200 OK\r\ncontent-length: +5\r\n\r\nhello".into(),
            None,
        ),
        (
            "negative length",
            "GET",
            "200 OK\r\ncontent-length: -5\r\n\r\nhello".into(),
            None,
        ),
        (
            "chunk of a size beyond all",
            "GET",
            "200 OK\r\ntransfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\nhello".into(),
            None,
        ),
        (
            "chunk of a negative size",
            "GET",
            "200 OK\r\ntransfer-encoding: chunked\r\n\r\n-5\r\nhello".into(),
            None,
        ),
        (
            "chunk with an endless extension",
            "GET",
            format!("200 OK\r\ntransfer-encoding: chunked\r\n\r\n5;{long}"),
            None,
        ),
        (
            "chunk that goes on",
            "GET",
            "200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhelloworld\r\n0\r\n\r\n".into(),
            None,
        ),
        (
            "trailers of a megabyte",
            "GET",
            format!("200 OK\r\n{chunked}sum: {long}\r\n\r\n"),
            None,
        ),
        (
            "a thousand trailers",
            "GET",
            format!("200 OK\r\n{chunked}{many}\r\n"),
            None,
        ),
        (
            "header of a megabyte",
            "GET",
            format!("200 OK\r\na: {long}\r\ncontent-length: 5\r\n\r\nhello"),
            None,
        ),
        (
            "a thousand headers",
            "GET",
            format!("200 OK\r\n{many}content-length: 5\r\n\r\nhello"),
            None,
        ),
        (
            "folded header",
            "GET",
            "200 OK\r\na: b\r\n c\r\ncontent-length: 5\r\n\r\nhello".into(),
            None,
        ),
        (
            "header with a NUL",
            "GET",
            "200 OK\r\na: b\0c\r\ncontent-length: 5\r\n\r\nhello".into(),
            None,
        ),
        (
            "header without a name",
            "GET",
            "200 OK\r\n: b\r\ncontent-length: 5\r\n\r\nhello".into(),
            None,
        ),
        (
            "space before the colon",
            "GET",
            "200 OK\r\ncontent-length : 5\r\n\r\nhello".into(),
            None,
        ),
        (
            "status of five digits",
            "GET",
            "20000 OK\r\ncontent-length: 5\r\n\r\nhello".into(),
            None,
        ),
        (
            "change of protocol",
            "GET",
            format!("101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n{TAIL}"),
            Some(""),
        ),
        (
            "body to HEAD",
            "HEAD",
            format!("200 OK\r\n{no_body}"),
            Some(""),
        ),
        (
            "body of 204",
            "GET",
            format!("204 No Content\r\n{no_body}"),
            Some(""),
        ),
        (
            "body of 304",
            "GET",
            format!("304 Not Modified\r\n{no_body}"),
            Some(""),
        ),
        (
            "chunks to HEAD",
            "HEAD",
            format!("200 OK\r\n{chunked}\r\n"),
            Some(""),
        ),
        (
            "two answers",
            "GET",
            format!("200 OK\r\ncontent-length: 5\r\n\r\nhello{TAIL}"),
            Some("hello"),
        ),
    ];
    for (what, method, text, expected) in answers {
        let text = Arc::new(format!("HTTP/1.1 {text}"));
        let first = Arc::new(AtomicUsize::new(0));
        let server = RawServer::start(move |mut peer: Peer| {
            let (text, is_first) = (Arc::clone(&text), first.fetch_add(1, Ordering::SeqCst) == 0);
            async move {
                while peer.request().await.is_some() {
                    let right = answer("", "right");
                    peer.send(if is_first { &text } else { &right }).await;
                }
            }
        })
        .await;
        let pool = pool(settings());
        let asked = request(method.parse().unwrap(), &server.uri("/"), None);
        let body = async {
            let response = send(&pool, asked).await?;
            Ok::<_, Error>(response.into_body().collect().await?.to_bytes())
        };
        let body = timeout(PATIENCE / 2, body).await.expect(what);
        assert_eq!(
            body.as_ref().ok().map(|body| &**body),
            expected.map(str::as_bytes),
            "{what}: {body:?}"
        );
        let next = timeout(PATIENCE / 2, get(&pool, &server.uri("/"))).await;
        assert_eq!(next.expect(what).unwrap(), "right", "{what}");
        server.closed(1).await;
    }
}
