//! A proxy between a host and Redis that loses, cuts, holds, refuses and slows down what a test names.
//!
//! It reads RESP, so a fault strikes one call of one script or command, always the same one: no test depends on
//! timing. The host connects to [`FaultProxy::url`]; the test prepares and inspects through Redis directly, or
//! to [`FaultProxy::clear_url`], where no fault strikes. It learns the names of scripts from `SCRIPT LOAD` and `EVAL`.

mod connection;
mod resp;
mod scripts;
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use self::scripts::Scripts;
use crate::harness::TestRedis;

/// A fault that never strikes is a mistake of the test.
const PATIENCE: Duration = Duration::from_secs(60);
/// Little room in the kernel, so that a slow link is slow for the writer, too.
const BUFFER: u32 = 64 * 1024;

/// What happens to a call.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// It never reaches Redis; the connection is cut.
    LoseRequest,
    /// Redis carries it out; the reply is dropped and the connection is cut.
    LoseReply,
    /// Redis carries it out; half of the reply arrives, then the connection is cut.
    CutReply,
    /// It reaches Redis only once the gate is open. Whatever follows on the connection waits as well.
    HoldRequest(Gate),
    /// Redis carries it out; the reply arrives only once the gate is open. So does whatever follows.
    HoldReply(Gate),
    /// It never reaches Redis; the reply is this error, such as `NOREPLICAS not enough replicas`.
    Refuse(&'static str),
}

/// Holds a call until the test opens it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gate(Arc<watch::Sender<bool>>);

impl Gate {
    pub(crate) fn open(&self) {
        self.0.send_replace(true);
    }

    async fn opened(&self) {
        let mut open = self.0.subscribe();
        // The gate is held by `self`: its sender is there.
        let _ = open.wait_for(|open| *open).await;
    }
}

/// A fault that waits for its calls, or has struck. Dropping it changes nothing.
pub(crate) struct Injected {
    name: String,
    struck: watch::Receiver<usize>,
}

impl Injected {
    /// Waits until the fault has struck so many calls; a call that is held counts from when it is held.
    pub(crate) async fn struck(&mut self, times: usize) {
        let waited = timeout(PATIENCE, self.struck.wait_for(|struck| *struck >= times)).await;
        let struck = waited.is_ok_and(|sent| sent.is_ok());
        assert!(struck, "fault struck no `{}`", self.name);
    }

    pub(crate) fn times(&self) -> usize {
        *self.struck.borrow()
    }
}

/// Strikes calls `skip..skip + times` of those with this name.
struct Rule {
    name: String,
    skip: usize,
    times: usize,
    fault: Fault,
    struck: Arc<watch::Sender<usize>>,
}

/// A fault for one call, and where it is counted once it has struck.
struct Strike {
    fault: Fault,
    struck: Arc<watch::Sender<usize>>,
}

impl Strike {
    fn count(&self) {
        self.struck.send_modify(|struck| *struck += 1);
    }
}

pub(crate) struct FaultProxy {
    shared: Arc<Shared>,
    port: u16,
    clear_port: u16,
    /// Dropped, it cuts all connections.
    _listeners: JoinSet<()>,
}

struct Shared {
    redis_port: u16,
    scripts: Scripts,
    rules: Mutex<Vec<Rule>>,
    calls: Mutex<HashMap<String, usize>>,
    link: Link,
}

impl FaultProxy {
    pub(crate) async fn start(redis: &TestRedis) -> Self {
        let shared = Arc::new(Shared {
            redis_port: redis.server.port(),
            scripts: Scripts::read(),
            rules: Mutex::default(),
            calls: Mutex::default(),
            link: Link::default(),
        });
        let mut listeners = JoinSet::new();
        let mut ports = [0; 2];
        for (port, faulty) in ports.iter_mut().zip([true, false]) {
            let listener = listen();
            *port = listener.local_addr().unwrap().port();
            listeners.spawn(accept(listener, Arc::clone(&shared), faulty));
        }
        let [port, clear_port] = ports;
        FaultProxy {
            shared,
            port,
            clear_port,
            _listeners: listeners,
        }
    }

    /// Where faults strike.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Where none does, and scripts are learnt all the same.
    pub(crate) fn clear_url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.clear_port)
    }

    /// Strikes the next call of a script (`settle`) or command (`BZPOPMIN`).
    pub(crate) fn inject(&self, name: &str, fault: Fault) -> Injected {
        self.inject_at(name, 0, 1, fault)
    }

    /// Strikes `times` calls in a row, after `skip` calls that pass.
    pub(crate) fn inject_at(
        &self,
        name: &str,
        skip: usize,
        times: usize,
        fault: Fault,
    ) -> Injected {
        assert!(
            name.chars().all(|char| char.is_ascii_uppercase()) || self.shared.scripts.has(name),
            "no script is called `{name}`"
        );
        let (sender, struck) = watch::channel(0);
        self.shared.rules.lock().unwrap().push(Rule {
            name: name.to_owned(),
            skip,
            times,
            fault,
            struck: Arc::new(sender),
        });
        Injected {
            name: name.to_owned(),
            struck,
        }
    }

    /// Takes back the faults that have not struck.
    pub(crate) fn clear(&self) {
        self.shared.rules.lock().unwrap().clear();
    }

    /// How many calls of a script or command came through where faults strike.
    pub(crate) fn calls(&self, name: &str) -> usize {
        let calls = self.shared.calls.lock().unwrap();
        calls.get(name).copied().unwrap_or_default()
    }

    /// Lets all connections together pass so many bytes per second each way; 0 is as fast as it goes.
    pub(crate) fn throttle(&self, bytes_per_second: usize) {
        *self.shared.link.bytes_per_second.lock().unwrap() = bytes_per_second;
    }
}

impl Shared {
    /// Notes a call, and finds the fault for it.
    fn strike(&self, name: &str) -> Option<Strike> {
        *self
            .calls
            .lock()
            .unwrap()
            .entry(name.to_owned())
            .or_default() += 1;
        let mut rules = self.rules.lock().unwrap();
        let at = rules.iter().position(|rule| rule.name == name)?;
        let rule = &mut rules[at];
        if rule.skip > 0 {
            rule.skip -= 1;
            return None;
        }
        let strike = Strike {
            fault: rule.fault.clone(),
            struck: Arc::clone(&rule.struck),
        };
        rule.times -= 1;
        if rule.times == 0 {
            rules.remove(at);
        }
        Some(strike)
    }
}

/// What the connections share: so many bytes per second each way.
#[derive(Default)]
struct Link {
    bytes_per_second: Mutex<usize>,
    /// When what was sent so far has passed, by direction.
    busy_until: [Mutex<Option<Instant>>; 2],
}

#[derive(Clone, Copy)]
enum Direction {
    Up,
    Down,
}

impl Link {
    /// How many bytes one turn takes: connections take turns of some 20 ms.
    fn turn(&self) -> usize {
        match *self.bytes_per_second.lock().unwrap() {
            0 => usize::MAX,
            rate => (rate / 50).max(1),
        }
    }

    /// Waits until so many bytes have passed.
    async fn pass(&self, direction: Direction, bytes: usize) {
        let rate = *self.bytes_per_second.lock().unwrap();
        if rate == 0 {
            return;
        }
        let until = {
            let mut busy_until = self.busy_until[direction as usize].lock().unwrap();
            let now = Instant::now();
            let from = busy_until.map_or(now, |until| until.max(now));
            let until = from + Duration::from_secs_f64(bytes as f64 / rate as f64);
            *busy_until = Some(until);
            until
        };
        sleep_until(until).await;
    }
}

fn listen() -> TcpListener {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(BUFFER).unwrap();
    socket.set_send_buffer_size(BUFFER).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    socket.listen(128).unwrap()
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, faulty: bool) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { return };
                connections.spawn(connection::serve(Arc::clone(&shared), client, faulty));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}
