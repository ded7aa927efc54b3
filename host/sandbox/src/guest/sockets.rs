//! Connections of a guest to other servers: `wasi:sockets` and `wasi:tls` as far as `grants.tcp` goes.
//!
//! These take the place of wasmtime's interfaces `tcp`, `tcp-create-socket` and `ip-name-lookup`, because what wasmtime
//! offers to hook into knows addresses but no names, times and bytes. A socket of ours only connects; wasmtime's UDP, which
//! is linked, opens none. All of it ends with the attempt: an instance that holds a socket is not used again.

mod lookup;
mod options;
mod streams;
mod tcp;
mod tls;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentNamedList, ComponentType, Lift, Linker, LinkerInstance, Lower};
use wasmtime_wasi::p2::bindings::sockets::network::ErrorCode;
use wasmtime_wasi_tls::WasiTlsCtx;

use super::AttemptState;
use crate::cancel::Stop;
use crate::open_files::Ticket;
use crate::policy::{TcpGrant, TcpJudge, TcpRefusal};

/// What a call answers, if it does not trap.
type Answer<T> = wasmtime::Result<Result<T, ErrorCode>>;

/// Takes the place of wasmtime's sockets, which are in the linker already.
pub(super) fn add_to_linker(linker: &mut Linker<AttemptState>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    tcp::add_to_linker(linker)?;
    options::add_to_linker(linker)?;
    lookup::add_to_linker(linker)?;
    linker.allow_shadowing(false);
    tls::add_to_linker(linker)
}

/// Adds one function of an interface.
fn add<Params, Returned>(
    instance: &mut LinkerInstance<'_, AttemptState>,
    name: &str,
    call: fn(&mut AttemptState, Params) -> wasmtime::Result<Returned>,
) -> wasmtime::Result<()>
where
    Params: ComponentNamedList + Lift + 'static,
    Returned: ComponentType + Lower + 'static,
{
    instance.func_wrap(
        name,
        move |mut store: StoreContextMut<'_, AttemptState>, params: Params| {
            Ok((call(store.data_mut(), params)?,))
        },
    )
}

/// What one attempt does with its grant. Empty until the guest first asks for a socket or a name: most never do.
#[derive(Default)]
pub(crate) struct Sockets {
    open: Option<Box<Open>>,
    tls: Option<Box<WasiTlsCtx>>,
}

struct Open {
    judge: TcpJudge,
    /// As many places as sockets may be open at once.
    places: Arc<Semaphore>,
    places_max: usize,
    bytes: Arc<Bytes>,
}

/// A place among the open sockets. Whatever can still reach the descriptor holds it.
type Place = Arc<(OwnedSemaphorePermit, Ticket)>;

impl Open {
    fn new(grant: &TcpGrant) -> Self {
        let places_max = (grant.connections_max as usize).min(Semaphore::MAX_PERMITS);
        Open {
            judge: TcpJudge::new(grant),
            places: Arc::new(Semaphore::new(places_max)),
            places_max,
            bytes: Arc::new(Bytes::new(grant.bytes_max)),
        }
    }

    /// None where there are as many as the grant allows.
    fn take_place(&self) -> Option<OwnedSemaphorePermit> {
        let place = Arc::clone(&self.places).try_acquire_owned();
        place.ok()
    }
}

impl Sockets {
    /// Tells whether all sockets are closed. Tasks that were told to end may need a moment.
    pub(crate) fn are_closed(&self) -> impl Future<Output = bool> + Send + use<> {
        /// An idle task ends when a thread takes it up next.
        const LOOKS: u32 = 32;
        let open = self.open.as_ref();
        let open = open.map(|open| (Arc::clone(&open.places), open.places_max));
        async move {
            let Some((places, max)) = open else {
                return true;
            };
            for _ in 0..LOOKS {
                if places.available_permits() == max {
                    return true;
                }
                tokio::task::yield_now().await;
            }
            false
        }
    }
}

impl AttemptState {
    /// The grant, and what was done with it. None without a grant, and where no server is to be reached.
    fn open_sockets(&mut self) -> Option<(&TcpGrant, &mut Open)> {
        let grant = self.policy.grants.tcp.as_ref()?;
        // A test of a processor reaches no server.
        if self.current.backend.http_answers().is_some() {
            return None;
        }
        let open = self
            .current
            .sockets
            .open
            .get_or_insert_with(|| Box::new(Open::new(grant)));
        Some((grant, open))
    }

    /// Why there is neither a socket nor a name.
    fn deny(&self) -> ErrorCode {
        if self.policy.grants.tcp.is_some() {
            self.note(|_| "connection was refused: a test of a processor reaches no server".into());
        }
        ErrorCode::AccessDenied
    }

    /// When what begins now must have come to an end.
    fn connected_by(grant: &TcpGrant) -> Instant {
        Instant::now() + Duration::from_millis(grant.connect_timeout_ms)
    }

    /// Says in the log why something was refused: the guest gets no more than a code.
    fn note_refusal(&self, refusal: &TcpRefusal) -> ErrorCode {
        self.note(|queue| refusal.text(queue));
        match refusal {
            TcpRefusal::TooMany(..) => ErrorCode::NewSocketLimit,
            _ => ErrorCode::AccessDenied,
        }
    }
}

/// Counts what the connections of one attempt carry, each way.
#[derive(Debug)]
struct Bytes {
    max: u64,
    sent: AtomicU64,
    received: AtomicU64,
}

impl Bytes {
    fn new(max: u64) -> Self {
        Bytes {
            max,
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
        }
    }

    fn send(&self, count: usize) -> Result<(), Stop> {
        self.count(&self.sent, count)
    }

    fn receive(&self, count: usize) -> Result<(), Stop> {
        self.count(&self.received, count)
    }

    fn count(&self, counter: &AtomicU64, count: usize) -> Result<(), Stop> {
        let before = counter.fetch_add(count as u64, Ordering::Relaxed);
        match before.saturating_add(count as u64) > self.max {
            true => Err(Stop::TcpBytes(self.max)),
            false => Ok(()),
        }
    }
}
