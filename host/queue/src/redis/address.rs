//! Where Redis is: one server, a cluster, or the master that sentinels name.

use redis::io::tcp::TcpSettings;
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};

use crate::error::QueueError;

/// A Redis, by its URL.
///
/// - `redis://[user[:password]@]host[:port][/db]`, `rediss://` with TLS, `redis+unix:///path`
/// - `redis+cluster://[user[:password]@]host:port,host:port`, `rediss+cluster://`
/// - `redis+sentinel://[user[:password]@]host:port,host:port/service[/db]`, `rediss+sentinel://`
#[derive(Debug, Clone)]
pub(crate) enum Address {
    Single(Box<ConnectionInfo>),
    Cluster(Vec<ConnectionInfo>),
    Sentinel {
        sentinels: Vec<ConnectionAddr>,
        master: Box<ConnectionInfo>,
        service: String,
    },
}

impl Address {
    pub(crate) fn parse(url: &str) -> Result<Self, QueueError> {
        let (scheme, rest) = url.split_once("://").unwrap_or((url, ""));
        match scheme.split_once('+') {
            Some((transport, "cluster")) => Self::cluster(transport, rest),
            Some((transport, "sentinel")) => Self::sentinel(transport, rest),
            _ => Ok(Address::Single(Box::new(info(url)?))),
        }
    }

    fn cluster(transport: &str, rest: &str) -> Result<Self, QueueError> {
        let (user, hosts, _) = parts(rest);
        let nodes = hosts
            .split(',')
            .map(|host| info(&format!("{transport}://{user}{host}")));
        Ok(Address::Cluster(nodes.collect::<Result<_, _>>()?))
    }

    fn sentinel(transport: &str, rest: &str) -> Result<Self, QueueError> {
        let (user, hosts, path) = parts(rest);
        let (service, db) = path.split_once('/').unwrap_or((path, ""));
        if service.is_empty() {
            let hint = "hint: redis+sentinel://host:26379,host:26379/SERVICE";
            return Err(QueueError::Invalid(format!(
                "the sentinel url names no service\n{hint}"
            )));
        }
        let address = |host: &str| Ok(info(&format!("{transport}://{host}"))?.addr().clone());
        let sentinels = hosts
            .split(',')
            .map(address)
            .collect::<Result<_, QueueError>>()?;
        // Host and port come from the sentinels; what matters here is who logs in, and into which database.
        let master = Box::new(info(&format!("{transport}://{user}localhost/{db}"))?);
        Ok(Address::Sentinel {
            sentinels,
            master,
            service: service.to_owned(),
        })
    }
}

fn info(url: &str) -> Result<ConnectionInfo, QueueError> {
    // What redis-rs says names its types, and the URL may have a password in it.
    let info = url.into_connection_info().map_err(|_| {
        QueueError::Invalid(
            "this is not the URL of a Redis\nhint: it has the form `redis://host:6379`, or \
             `redis://user:password@host:6379/0`, in which other characters than letters and digits are encoded as \
             percent signs and hexadecimal digits"
                .to_owned(),
        )
    })?;
    Ok(info.set_tcp_settings(unbuffered()))
}

/// Sends each call at once. TCP would hold the second one back until the first is answered.
pub(super) fn unbuffered() -> TcpSettings {
    TcpSettings::default().set_nodelay(true)
}

/// `user:password@`, hosts, and the path without its slash.
fn parts(rest: &str) -> (&str, &str, &str) {
    let (user, rest) = rest.split_at(rest.rfind('@').map_or(0, |at| at + 1));
    let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
    (user, hosts, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_clusters_and_sentinels_are_understood() {
        let Ok(Address::Cluster(nodes)) = Address::parse("redis+cluster://u:p@a:1,b:2") else {
            panic!()
        };
        let shown: Vec<String> = nodes.iter().map(|node| node.addr().to_string()).collect();
        assert_eq!(shown, ["a:1", "b:2"]);
        assert_eq!(nodes[1].redis_settings().username(), Some("u"));
        let url = "rediss+sentinel://u:p@a:1,b:2/main/3";
        let Ok(Address::Sentinel {
            sentinels,
            master,
            service,
        }) = Address::parse(url)
        else {
            panic!()
        };
        assert_eq!(
            (sentinels.len(), &*service, master.redis_settings().db()),
            (2, "main", 3)
        );
        assert!(matches!(sentinels[0], ConnectionAddr::TcpTls { .. }));
        assert!(
            Address::parse("redis+sentinel://a:1")
                .unwrap_err()
                .to_string()
                .contains("no service")
        );
        assert!(matches!(
            Address::parse("redis://a:1"),
            Ok(Address::Single(_))
        ));
        for url in [
            "nonsense",
            "localhost:6379",
            "http://a",
            "redis://a:port",
            "redis+cluster://a:port",
        ] {
            let error = Address::parse(url).unwrap_err().to_string();
            assert!(
                error.contains("\nhint: it has the form `redis://host:6379`"),
                "{error}"
            );
        }
    }
}
