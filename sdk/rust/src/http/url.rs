//! URLs of requests, and where a redirect leads.
//!
//! Not the crate `url`: it brings the tables of Unicode's normalization into each guest, for host names with letters beyond
//! ASCII. Such a name is written as its DNS name here (`xn--…`).

use std::fmt;

use ::http::Uri;
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};

use super::Error;

/// What browsers encode in paths and queries. `%` stays: what is encoded is not encoded again.
const ENCODED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'`')
    .add(b'{')
    .add(b'}');
/// All but the unreserved characters.
const IN_QUERY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// An absolute URL of the scheme `http` or `https`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Url {
    tls: bool,
    /// Host and port.
    authority: String,
    path_and_query: String,
}

impl Url {
    pub(super) fn parse(text: &str) -> Result<Self, Error> {
        let invalid =
            |reason: &str| Error::Invalid(format!("URL `{}` is invalid: {reason}", shown(text)));
        let url = without_fragment(text.trim());
        let (scheme, rest) = url.split_once("://").unwrap_or_default();
        let tls = scheme.eq_ignore_ascii_case("https");
        if !tls && !scheme.eq_ignore_ascii_case("http") {
            return Err(invalid(
                "it begins neither with `http://` nor with `https://`",
            ));
        }
        let host = rest.split(['/', '?']).next().unwrap_or_default();
        if host.contains('@') {
            return Err(invalid(
                "it has a user; send the header `authorization` instead",
            ));
        }
        if !host.is_ascii() {
            return Err(invalid("write its host as its DNS name (`xn--…`)"));
        }
        let encoded = utf8_percent_encode(url, ENCODED).to_string();
        let uri: Uri = encoded
            .parse()
            .map_err(|error: ::http::uri::InvalidUri| invalid(&error.to_string()))?;
        let authority = uri
            .authority()
            .ok_or_else(|| invalid("it has no host"))?
            .as_str();
        let path_and_query = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Url {
            tls,
            authority: authority.to_ascii_lowercase(),
            path_and_query: match path_and_query.starts_with('/') {
                true => path_and_query.to_owned(),
                false => format!("/{path_and_query}"),
            },
        })
    }

    /// The URL that `reference`, such as the value of `location`, means on this page.
    pub(super) fn join(&self, reference: &str) -> Result<Self, Error> {
        let reference = without_fragment(reference.trim());
        let scheme = self.scheme();
        if has_scheme(reference) {
            return Url::parse(reference);
        }
        if let Some(rest) = reference.strip_prefix("//") {
            return Url::parse(&format!("{scheme}://{rest}"));
        }
        let (path, query) = split_query(reference);
        let (own_path, own_query) = split_query(&self.path_and_query);
        let directory = &own_path[..=own_path.rfind('/').unwrap_or(0)];
        let path_and_query = match path {
            "" => format!(
                "{own_path}{}",
                if query.is_empty() { own_query } else { query }
            ),
            path if path.starts_with('/') => format!("{}{query}", without_dots(path)),
            path => format!("{}{query}", without_dots(&format!("{directory}{path}"))),
        };
        Url::parse(&format!("{scheme}://{}{path_and_query}", self.authority))
    }

    /// Appends `name=value` to the query, encoded.
    pub(super) fn add_query(&mut self, name: &str, value: &str) {
        let before = if self.path_and_query.contains('?') {
            '&'
        } else {
            '?'
        };
        let encoded = |text| utf8_percent_encode(text, IN_QUERY);
        self.path_and_query
            .push_str(&format!("{before}{}={}", encoded(name), encoded(value)));
    }

    pub(super) fn is_tls(&self) -> bool {
        self.tls
    }

    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    pub(super) fn path_and_query(&self) -> &str {
        &self.path_and_query
    }

    /// Whether both are of one server, to which credentials may go.
    pub(super) fn has_origin_of(&self, other: &Url) -> bool {
        self.tls == other.tls && self.authority_and_port() == other.authority_and_port()
    }

    fn authority_and_port(&self) -> &str {
        let port = if self.tls { ":443" } else { ":80" };
        self.authority.strip_suffix(port).unwrap_or(&self.authority)
    }

    fn scheme(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }

    /// The whole URL, with a query that may hold a secret.
    pub(super) fn whole(&self) -> String {
        format!(
            "{}://{}{}",
            self.scheme(),
            self.authority,
            self.path_and_query
        )
    }
}

/// Shows all but the query.
impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, _) = split_query(&self.path_and_query);
        write!(f, "{}://{}{path}", self.scheme(), self.authority)
    }
}

fn without_fragment(url: &str) -> &str {
    url.split('#').next().unwrap_or_default()
}

/// A URL without what may be a secret: its query, and its user.
fn shown(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let host = rest.split('/').next().unwrap_or_default();
            let user = host.rfind('@').map_or(0, |at| at + 1);
            format!("{scheme}://{}", &rest[user..])
        }
        None => url.to_owned(),
    }
}

/// Path, and query with its `?`.
fn split_query(path_and_query: &str) -> (&str, &str) {
    path_and_query.split_at(path_and_query.find('?').unwrap_or(path_and_query.len()))
}

/// A scheme ends with a colon before any slash, and has letters, digits, `+`, `-` and `.`.
fn has_scheme(reference: &str) -> bool {
    let in_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    reference.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.bytes().all(in_scheme)
    })
}

/// Takes `.` and `..` out of an absolute path.
fn without_dots(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    let mut ends_as_directory = false;
    for segment in path.split('/').skip(1) {
        ends_as_directory = matches!(segment, "." | "..");
        match segment {
            "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    let end = if ends_as_directory && !segments.is_empty() {
        "/"
    } else {
        ""
    };
    format!("/{}{end}", segments.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(url: &str) -> String {
        Url::parse(url).unwrap().whole()
    }

    #[test]
    fn urls_are_sent_as_browsers_send_them() {
        assert_eq!(whole("http://A.example"), "http://a.example/");
        assert_eq!(
            whole("https://a.example?q=1#part"),
            "https://a.example/?q=1"
        );
        assert_eq!(
            whole("http://a.example:8080/x y/ü?q=%20"),
            "http://a.example:8080/x%20y/%C3%BC?q=%20"
        );
        assert_eq!(whole("http://[::1]:80/"), "http://[::1]:80/");
    }

    #[test]
    fn urls_that_cannot_be_sent_say_why() {
        for (url, reason) in [
            ("a.example/x", "neither"),
            ("ftp://a.example/", "neither"),
            ("/x", "neither"),
            ("http://", "URL `http://` is invalid"),
            ("http://joe:secret@a.example/", "authorization"),
            ("http://bücher.example/", "DNS name"),
            ("", "URL `` is invalid"),
        ] {
            let error = Url::parse(url).unwrap_err().to_string();
            assert!(error.contains(reason), "{url}: {error}");
        }
        for url in ["nowhere?token=HuNter22", "http://joe:HuNter22@a.example/"] {
            let error = Url::parse(url).unwrap_err().to_string();
            assert!(!error.contains("HuNter22"), "{error}");
        }
    }

    #[test]
    fn query_of_a_url_is_not_shown() {
        let mut url = Url::parse("http://a.example/x?token=HuNter22").unwrap();
        assert_eq!(url.to_string(), "http://a.example/x");
        url.add_query("a b", "c&d=ü");
        assert_eq!(
            url.whole(),
            "http://a.example/x?token=HuNter22&a%20b=c%26d%3D%C3%BC"
        );
    }

    /// The examples of RFC 3986, section 5.4, with another base.
    #[test]
    fn references_lead_where_the_rfc_says() {
        let base = Url::parse("http://a.example/b/c/d?q").unwrap();
        for (reference, expected) in [
            ("https://b.example/x", "https://b.example/x"),
            ("//b.example:1/x", "http://b.example:1/x"),
            ("g", "http://a.example/b/c/g"),
            ("./g", "http://a.example/b/c/g"),
            ("g/", "http://a.example/b/c/g/"),
            ("/g", "http://a.example/g"),
            ("?y", "http://a.example/b/c/d?y"),
            ("g?y", "http://a.example/b/c/g?y"),
            ("#s", "http://a.example/b/c/d?q"),
            ("", "http://a.example/b/c/d?q"),
            (".", "http://a.example/b/c/"),
            ("..", "http://a.example/b/"),
            ("../..", "http://a.example/"),
            ("../g", "http://a.example/b/g"),
            ("../../../../g", "http://a.example/g"),
            ("/./g", "http://a.example/g"),
            ("./g/.", "http://a.example/b/c/g/"),
            ("g/../h", "http://a.example/b/c/h"),
            ("g?y/../x", "http://a.example/b/c/g?y/../x"),
            ("x y", "http://a.example/b/c/x%20y"),
        ] {
            assert_eq!(
                base.join(reference).unwrap().whole(),
                expected,
                "{reference}"
            );
        }
        assert!(base.join("mailto:a@b.example").is_err());
    }

    #[test]
    fn origins_are_scheme_host_and_port() {
        let same = |one: &str, other: &str| {
            Url::parse(one)
                .unwrap()
                .has_origin_of(&Url::parse(other).unwrap())
        };
        assert!(same("http://a.example/x", "http://A.example:80/y"));
        assert!(!same("http://a.example/", "https://a.example/"));
        assert!(!same("http://a.example/", "http://a.example:8080/"));
        assert!(!same("http://a.example/", "http://b.a.example/"));
    }
}
