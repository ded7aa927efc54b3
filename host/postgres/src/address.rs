//! Where a database is, and who asks: the `postgres://` URL that operators know. It holds a password, so nothing here shows
//! the URL or a part of it that could be one.

use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use url::{Host, Url};

/// A database, and the user who asks for it.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    pub(crate) place: Place,
    pub(crate) user: String,
    pub(crate) password: Option<String>,
    pub(crate) database: String,
    pub(crate) tls: Tls,
    /// Sent when a session begins, besides user and database.
    pub(crate) parameters: Vec<(&'static str, String)>,
}

/// Where the server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Tcp(String, u16),
    Unix(PathBuf),
}

/// Whether a connection is encrypted. One that is has a server that proved its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tls {
    Disable,
    Prefer,
    Require,
}

/// Why a URL is none of a database. It shows nothing of the URL but names of parameters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not a URL at all.
    #[error(
        "the address of the database is not a URL\nhint: it has the form `postgres://user:password@host:5432/database`; write \
         characters such as `@`, `/` and `#` in the password as `%40`, `%2F` and `%23`"
    )]
    NotAUrl,
    /// Another scheme.
    #[error("the URL of the database begins with neither `postgres://` nor `postgresql://`")]
    Scheme,
    /// No user.
    #[error("the URL of the database names no user")]
    NoUser,
    /// A parameter that is not known.
    #[error(
        "the URL of the database has the unknown parameter `{0}`\nhint: the known parameters are sslmode, host, application_name and options"
    )]
    Parameter(String),
    /// A value of `sslmode` that is not known.
    #[error(
        "the URL of the database has an unknown `sslmode`\nhint: the modes are disable, prefer, require, verify-ca and \
         verify-full; the last three all verify the certificate and its name"
    )]
    SslMode,
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Address(..)")
    }
}

impl std::str::FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let url = Url::parse(text).map_err(|_| AddressError::NotAUrl)?;
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            return Err(AddressError::Scheme);
        }
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let user = Some(decoded(url.username())).filter(|user| !user.is_empty());
        let user = user.ok_or(AddressError::NoUser)?;
        let database = decoded(url.path().trim_start_matches('/'));
        let port = url.port().unwrap_or(5432);
        let mut address = Address {
            place: place_of(host_of(&url), port),
            password: url.password().map(decoded),
            database: if database.is_empty() {
                user.clone()
            } else {
                database
            },
            user,
            tls: Tls::Require,
            parameters: vec![
                ("client_encoding", "UTF8".to_owned()),
                ("DateStyle", "ISO".to_owned()),
            ],
        };
        let mode = address.read_parameters(&url, port)?;
        address.tls = mode.unwrap_or(match &address.place {
            Place::Tcp(host, _) if !is_this_machine(host) => Tls::Require,
            _ => Tls::Disable,
        });
        Ok(address)
    }
}

impl Address {
    fn read_parameters(&mut self, url: &Url, port: u16) -> Result<Option<Tls>, AddressError> {
        let (mut mode, mut name) = (None, "toril".to_owned());
        for (key, value) in url.query_pairs() {
            match &*key {
                "sslmode" => mode = Some(tls_of(&value).ok_or(AddressError::SslMode)?),
                "host" => self.place = place_of(value.into_owned(), port),
                "application_name" => name = value.into_owned(),
                "options" => self.parameters.push(("options", value.into_owned())),
                _ => return Err(AddressError::Parameter(key.into_owned())),
            }
        }
        self.parameters.push(("application_name", name));
        Ok(mode)
    }
}

/// A host that is a directory has the server's socket in it.
fn place_of(host: String, port: u16) -> Place {
    match host.starts_with('/') {
        true => Place::Unix(PathBuf::from(host).join(format!(".s.PGSQL.{port}"))),
        false => Place::Tcp(host, port),
    }
}

fn host_of(url: &Url) -> String {
    match url.host() {
        Some(Host::Domain(name)) if !name.is_empty() => {
            percent_decode_str(name).decode_utf8_lossy().into_owned()
        }
        Some(Host::Ipv4(address)) => address.to_string(),
        Some(Host::Ipv6(address)) => address.to_string(),
        _ => "localhost".to_owned(),
    }
}

fn tls_of(mode: &str) -> Option<Tls> {
    Some(match mode {
        "disable" => Tls::Disable,
        "allow" | "prefer" => Tls::Prefer,
        "require" | "verify-ca" | "verify-full" => Tls::Require,
        _ => return None,
    })
}

fn is_this_machine(host: &str) -> bool {
    let is_loopback = |address: std::net::IpAddr| address.is_loopback();
    host == "localhost" || host.parse().is_ok_and(is_loopback)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        text.parse().unwrap()
    }

    #[test]
    fn url_says_who_asks_where() {
        let found = address("postgres://an%40n:p%2Fw@db.example:6000/sh%20op");
        assert_eq!(found.place, Place::Tcp("db.example".into(), 6000));
        assert_eq!(
            (found.user.as_str(), found.database.as_str()),
            ("an@n", "sh op")
        );
        assert_eq!(found.password.as_deref(), Some("p/w"));
        let short = address("postgresql://ann@[::1]");
        assert_eq!(short.place, Place::Tcp("::1".into(), 5432));
        assert_eq!((short.database.as_str(), short.password), ("ann", None));
        let socket = address("postgres://ann@%2Frun%2Fpostgresql/shop");
        assert_eq!(
            socket.place,
            Place::Unix("/run/postgresql/.s.PGSQL.5432".into())
        );
    }

    #[test]
    fn connections_that_leave_the_machine_are_encrypted_unless_said_otherwise() {
        for (text, tls) in [
            ("postgres://a@db/x", Tls::Require),
            ("postgres://a@db/x?sslmode=verify-full", Tls::Require),
            ("postgres://a@db/x?sslmode=disable", Tls::Disable),
            ("postgres://a@db/x?sslmode=prefer", Tls::Prefer),
            ("postgres://a@127.0.0.1/x", Tls::Disable),
            ("postgres://a@localhost/x?sslmode=require", Tls::Require),
            ("postgres://a@db/x?host=/run", Tls::Disable),
        ] {
            assert_eq!(address(text).tls, tls, "{text}");
        }
    }

    #[test]
    fn refusals_show_no_password() {
        for text in [
            "postgres://ann:se#cret@db/x",
            "postgres://:secret@db/x",
            "mysql://ann:secret@db/x",
            "postgres://ann:secret@db/x?sslmode=secret",
            "host=db password=secret",
        ] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(!error.contains("cret"), "{error}");
        }
        let error = "postgres://a@db/x?target_session_attrs=any"
            .parse::<Address>()
            .unwrap_err();
        assert!(
            error.to_string().contains("`target_session_attrs`"),
            "{error}"
        );
        let shown = format!("{:?}", address("postgres://ann:secret@db/x"));
        assert!(!shown.contains("secret"), "{shown}");
    }
}
