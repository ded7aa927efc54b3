//! What a redirect asks for: which request comes next, if any.

use ::http::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_LOCATION,
    CONTENT_TYPE, COOKIE, LOCATION, PROXY_AUTHORIZATION,
};
use ::http::{Method, StatusCode};

use super::request::Head;
use super::{Error, Response};

const OF_BODIES: [::http::HeaderName; 5] = [
    CONTENT_ENCODING,
    CONTENT_LANGUAGE,
    CONTENT_LENGTH,
    CONTENT_LOCATION,
    CONTENT_TYPE,
];
const CREDENTIALS: [::http::HeaderName; 3] = [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION];

/// The next request.
#[derive(Debug)]
pub(super) struct Hop {
    pub(super) head: Head,
    /// Whether the body is sent again.
    pub(super) has_body: bool,
}

/// The request that follows a response, if redirects are followed at all.
pub(super) fn after(
    head: &Head,
    response: &Response,
    redirects_max: u32,
) -> Result<Option<Hop>, Error> {
    match redirects_max {
        0 => Ok(None),
        _ => next(head, response.status(), response.header(LOCATION.as_str())),
    }
}

/// The request that follows, as browsers send it. `None`: the response is the answer.
fn next(head: &Head, status: StatusCode, location: Option<&str>) -> Result<Option<Hop>, Error> {
    let (Some(location), 301 | 302 | 303 | 307 | 308) = (location, status.as_u16()) else {
        return Ok(None);
    };
    let mut next = head.clone();
    next.url = head.url.join(location)?;
    let becomes_get = match status.as_u16() {
        301 | 302 => head.method == Method::POST,
        303 => head.method != Method::GET && head.method != Method::HEAD,
        _ => false,
    };
    if becomes_get {
        next.method = Method::GET;
        OF_BODIES
            .iter()
            .for_each(|name| drop(next.headers.remove(name)));
    }
    if !next.url.has_origin_of(&head.url) {
        CREDENTIALS
            .iter()
            .for_each(|name| drop(next.headers.remove(name)));
    }
    Ok(Some(Hop {
        head: next,
        has_body: !becomes_get,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(method: Method) -> Head {
        let mut head = Head::new(method, "https://a.example/x").unwrap();
        for (name, value) in [
            ("authorization", "secret"),
            ("content-type", "text/plain"),
            ("accept", "*/*"),
        ] {
            head.add_header(name, value).unwrap();
        }
        head
    }

    fn hop(method: Method, status: u16, location: &str) -> Option<Hop> {
        next(
            &head(method),
            StatusCode::from_u16(status).unwrap(),
            Some(location),
        )
        .unwrap()
    }

    #[test]
    fn methods_change_as_in_browsers() {
        for (before, status, after) in [
            (Method::GET, 301, Method::GET),
            (Method::HEAD, 303, Method::HEAD),
            (Method::POST, 301, Method::GET),
            (Method::POST, 302, Method::GET),
            (Method::POST, 303, Method::GET),
            (Method::POST, 307, Method::POST),
            (Method::POST, 308, Method::POST),
            (Method::PUT, 302, Method::PUT),
            (Method::PUT, 303, Method::GET),
            (Method::DELETE, 301, Method::DELETE),
        ] {
            let hop = hop(before.clone(), status, "/y").unwrap();
            assert_eq!(hop.head.method, after, "{before} {status}");
            assert_eq!(hop.has_body, before == after, "{before} {status}");
            assert_eq!(
                hop.head.headers.contains_key("content-type"),
                before == after,
                "{before} {status}"
            );
        }
    }

    #[test]
    fn credentials_go_to_no_other_server() {
        for (location, kept) in [
            ("/y", true),
            ("https://a.example:443/y", true),
            ("http://a.example/y", false),
            ("https://a.example:8443/y", false),
            ("//b.example/y", false),
        ] {
            let headers = hop(Method::GET, 302, location).unwrap().head.headers;
            assert_eq!(headers.contains_key("authorization"), kept, "{location}");
            assert!(headers.contains_key("accept"), "{location}");
        }
    }

    #[test]
    fn other_answers_are_no_redirects() {
        for status in [200, 300, 304, 305, 404] {
            assert!(hop(Method::GET, status, "/y").is_none(), "{status}");
        }
        assert!(
            next(&head(Method::GET), StatusCode::FOUND, None)
                .unwrap()
                .is_none()
        );
        assert!(
            next(
                &head(Method::GET),
                StatusCode::FOUND,
                Some("file:///etc/passwd")
            )
            .is_err()
        );
    }
}
