//! The addresses of names, as the system knows them.

use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

/// Names that one queue looks up at once: a server of names that never answers holds a thread for each.
const AT_ONCE: usize = 8;

/// Answers with the addresses that a name has now.
type Resolver = dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync;

/// Places for the look-ups of one queue.
#[derive(Clone)]
pub(crate) struct Lookups {
    places: Arc<Semaphore>,
    resolver: Arc<Resolver>,
}

impl Default for Lookups {
    fn default() -> Self {
        Self::with(|name| {
            let addresses = (name, 0).to_socket_addrs()?;
            Ok(addresses.map(|address| address.ip()).collect())
        })
    }
}

impl Lookups {
    /// Look-ups that this answers. Tests bring names of their own.
    pub(crate) fn with(
        resolver: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static,
    ) -> Self {
        Lookups {
            places: Arc::new(Semaphore::new(AT_ONCE)),
            resolver: Arc::new(resolver),
        }
    }

    /// Waits for a place, and for the answer, until then.
    pub(crate) async fn addresses(self, name: Arc<str>, end: Instant) -> io::Result<Vec<IpAddr>> {
        let look_up = async {
            let place = self.places.acquire_owned().await;
            let place = place.map_err(io::Error::other)?;
            let task = tokio::task::spawn_blocking(move || {
                // Held until the system answers: a look-up that is given up keeps its thread.
                let _place = place;
                (self.resolver)(&name)
            });
            task.await.map_err(io::Error::other)?
        };
        let answer = timeout_at(end, look_up).await;
        answer.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}
