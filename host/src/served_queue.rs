//! One queue on this host: what it should be, and what it is.
//!
//! A `ServedQueue` is the handle. Its task, in `reconcile`, owns the queue: other code that wants a change sends
//! it a message, and the task goes on whether or not the sender waits for the answer. What cannot fail and takes no time
//! (pause, resume, cancel, looking) acts on the worker directly.

pub mod cancel;
pub mod deployment;
mod follow;
mod loader;
mod reason;
mod reconcile;
pub mod report;
pub mod spec;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use arc_swap::{ArcSwapOption, Guard};
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::listeners::EventRoom;
use crate::metrics::Metrics;
use crate::telemetry::Telemetry;
use crate::versions::{Version, Versions};
use crate::worker::{EventReader, Listeners, Observers, Worker};
use cancel::requests::Requests;
pub(crate) use follow::follow;
use loader::Loader;
pub(crate) use reconcile::{CheckedFile, check_file};
use reconcile::{Message, Reconciler};
pub use report::{QueueStatus, Refusal};
pub use spec::QueueSpec;
pub(crate) use spec::{Section, Wanted};
use toril_queue::{Queue, QueueName, Redis};
use toril_sandbox::Engine;

/// Messages that may wait for a queue's task.
const MAILBOX: usize = 64;

/// Who a host is, to the others.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Another one for each process.
    pub host: String,
    /// For people: the machine's name and the process's id.
    pub name: String,
    /// Where its admin API listens. It is set once the API does: with port 0 only the listener knows the port.
    pub(crate) admin: OnceLock<SocketAddr>,
}

impl Identity {
    /// The identity of this process.
    pub fn new() -> Self {
        let machine = gethostname::gethostname();
        Identity {
            host: uuid::Uuid::new_v4().to_string(),
            name: format!("{}:{}", machine.to_string_lossy(), std::process::id()),
            admin: OnceLock::new(),
        }
    }
}

impl Default for Identity {
    fn default() -> Self {
        Self::new()
    }
}

/// How far a host is from its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Work.
    Work,
    /// Take no more jobs; let the running ones end.
    Drain,
    /// Stop the running ones and give them back.
    GiveBack,
}

/// Hears, for each queue that a host begins to work, its name and what is told closely from its beginning on.
pub type OnQueue = Box<dyn Fn(&QueueName, EventReader) + Send + Sync>;

/// What all queues of a host share.
pub(crate) struct Context {
    pub(crate) engine: Arc<Engine>,
    pub(crate) redis: Redis,
    /// For reports and deployments. Nothing large goes over it: others hear of the host whatever it reads.
    pub(crate) control: Redis,
    pub(crate) prefix: String,
    pub(crate) identity: Identity,
    pub(crate) metrics: Metrics,
    pub(crate) telemetry: Option<Arc<Telemetry>>,
    /// For events that are on their way to those who listen.
    pub(crate) event_room: EventRoom,
    pub(crate) on_queue: Option<OnQueue>,
    /// By name. A queue's task takes it off when the queue was detached.
    pub(crate) queues: Mutex<BTreeMap<QueueName, Arc<ServedQueue>>>,
    /// Only ever advances.
    pub(crate) stage: watch::Sender<Stage>,
    /// Wakes the one who follows the deployments: a queue has something to report now.
    pub(crate) report: Notify,
}

/// What becomes of running jobs when their queue is detached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detach {
    /// They end.
    Wait,
    /// They are stopped and given back.
    GiveBack,
}

/// What reading a queue's file again did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reloaded {
    /// The file holds another processor, which serves now.
    Swapped,
    /// It does, but a deployment takes precedence over it.
    Hidden,
    /// It holds the same.
    Unchanged,
    /// It holds none that can be taken; the queue's status says why.
    Refused,
}

/// Why a queue is not as it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// There is such a queue.
    #[error("queue `{0}` is already attached")]
    Attached(String),
    /// Something in the spec cannot be done. What there was before goes on.
    #[error("queue `{queue}`: {error:#}")]
    Refused {
        /// The queue.
        queue: String,
        /// Why.
        error: anyhow::Error,
    },
    /// The queue's task has more to do than it can remember.
    #[error("too many changes of queue `{0}` are waiting")]
    Busy(String),
    /// The host stops.
    #[error("the host is stopping")]
    Stopping,
}

impl ApplyError {
    /// True where it was Redis that did not answer: the same may be done later.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            ApplyError::Refused { error, .. } => error
                .downcast_ref()
                .is_some_and(toril_queue::QueueError::is_transient),
            _ => false,
        }
    }
}

/// A queue of this host. Dropped, it gives its jobs back.
pub(crate) struct ServedQueue {
    mailbox: mpsc::Sender<Message>,
    shared: Arc<Shared>,
}

/// What a queue's task shows to others.
struct Shared {
    name: QueueName,
    observers: Arc<Observers>,
    /// Written by the task. None until it serves for the first time.
    serving: ArcSwapOption<Serving>,
    /// What was refused last and is tried again.
    refusal: ArcSwapOption<Refusal>,
    /// The revision of the deployment that the task has acted on.
    revision: AtomicU64,
    /// Woken when the task is sent a message: what takes long is given up for it.
    asked: Notify,
    /// It was detached, and its task is about to end. The next one who attaches it may.
    is_leaving: AtomicBool,
}

/// Where a queue's processors come from.
#[derive(Clone)]
struct Source {
    queue: Queue,
    versions: Arc<Versions>,
    loader: Arc<Loader>,
    /// False where Redis does not let us follow the deployments.
    followed: bool,
}

/// A queue that this host serves.
pub(crate) struct Serving {
    source: Source,
    pub(crate) worker: Worker,
    /// The revision that the task was told of. Written by the one who follows.
    told: AtomicU64,
    /// There is something to report now. Set by the task, taken by the one who follows.
    urgent: AtomicBool,
    /// The last job or change; none yet.
    last_busy: Mutex<Option<Instant>>,
    /// Written by the one who follows.
    cancel_requests: Mutex<Requests>,
}

impl Serving {
    pub(crate) fn versions(&self) -> &Arc<Versions> {
        &self.source.versions
    }

    pub(crate) fn queue(&self) -> &Queue {
        &self.source.queue
    }

    pub(crate) fn deployments(&self) -> &deployment::Deployments {
        self.source.loader.deployments()
    }

    fn advance(&self, stage: Stage) {
        match stage {
            Stage::Work => {}
            Stage::Drain => self.worker.drain(),
            Stage::GiveBack => self.worker.give_back(),
        }
    }
}

/// The answer to a message, some time later. It may be dropped: what was asked for is done all the same.
pub(crate) struct Answer<T>(oneshot::Receiver<T>);

impl<T> Answer<T> {
    /// Waits for it. None: the host ended before.
    pub(crate) async fn get(self) -> Option<T> {
        self.0.await.ok()
    }
}

impl Context {
    /// Sends a queue's task what the queue should be. Where there is no such queue, a task for it is started.
    pub(crate) fn apply(
        self: &Arc<Self>,
        name: &QueueName,
        order: Order,
    ) -> Result<Answer<Result<(), ApplyError>>, ApplyError> {
        let (reply, answer) = oneshot::channel();
        let must_be_new = order.must_be_new;
        let message = Message::Apply(Box::new(order), reply);
        // Locked until it is sent: a task ends only when nothing was.
        let mut queues = self.queues.lock();
        if *self.stage.borrow() != Stage::Work {
            return Err(ApplyError::Stopping);
        }
        match queues.get(name.as_str()) {
            Some(served) => {
                let is_leaving = &served.shared.is_leaving;
                if must_be_new && !is_leaving.load(Ordering::Relaxed) {
                    return Err(ApplyError::Attached(name.to_string()));
                }
                served.send(message)?;
                // The queue is this one's from now on.
                is_leaving.store(false, Ordering::Relaxed);
            }
            None => {
                let served = ServedQueue::start(self, name);
                served.send(message)?;
                queues.insert(name.clone(), Arc::new(served));
            }
        }
        Ok(Answer(answer))
    }

    /// The queue of this name that this host serves.
    pub(crate) fn serving(&self, name: &str) -> Option<Arc<Serving>> {
        self.queues.lock().get(name)?.serving()
    }

    /// All queues.
    pub(crate) fn all(&self) -> Vec<Arc<ServedQueue>> {
        self.queues.lock().values().cloned().collect()
    }

    /// Advances all queues, and those that come later.
    pub(crate) fn advance(&self, stage: Stage) {
        self.stage.send_modify(|now| *now = stage.max(*now));
        for served in self.all() {
            if let Some(serving) = served.serving() {
                serving.advance(stage);
            }
        }
    }
}

/// What a queue should be.
pub(crate) struct Order {
    pub(crate) wanted: Wanted,
    /// What its file holds, where that is loaded.
    pub(crate) file: Option<Arc<Version>>,
    /// Refuses to change a queue that is there.
    pub(crate) must_be_new: bool,
    /// Where it is refused and there is no such queue yet: true tries again, false forgets it.
    pub(crate) keep: bool,
}

impl ServedQueue {
    /// Starts the task of a queue that is nothing yet.
    fn start(context: &Arc<Context>, name: &QueueName) -> Self {
        let (mailbox, messages) = mpsc::channel(MAILBOX);
        let listeners = Listeners::new(context.event_room.clone());
        if let Some(on_queue) = &context.on_queue {
            on_queue(name, listeners.subscribe_closely());
        }
        let shared = Arc::new(Shared {
            name: name.clone(),
            observers: Arc::new(Observers {
                listeners,
                metrics: context.metrics.queue(name),
                telemetry: context.telemetry.clone(),
                step_notes: Arc::default(),
            }),
            serving: ArcSwapOption::empty(),
            refusal: ArcSwapOption::empty(),
            revision: AtomicU64::new(0),
            asked: Notify::new(),
            is_leaving: AtomicBool::new(false),
        });
        let task = Reconciler::new(Arc::clone(context), Arc::clone(&shared), messages);
        tokio::spawn(task.run());
        ServedQueue { mailbox, shared }
    }

    fn send(&self, message: Message) -> Result<(), ApplyError> {
        let sent = self.mailbox.try_send(message);
        sent.map_err(|_| ApplyError::Busy(self.name().to_string()))?;
        self.shared.asked.notify_one();
        Ok(())
    }

    pub(crate) fn name(&self) -> &QueueName {
        &self.shared.name
    }

    pub(crate) fn observers(&self) -> &Arc<Observers> {
        &self.shared.observers
    }

    pub(crate) fn serving(&self) -> Option<Arc<Serving>> {
        self.shared.serving.load_full()
    }

    /// Reads its file again; `again` tries one that was refused before, too. The answer is none where it has no file.
    pub(crate) fn reload(&self, again: bool) -> Result<Answer<Option<Reloaded>>, ApplyError> {
        let (reply, answer) = oneshot::channel();
        self.send(Message::Reload(again, reply))?;
        Ok(Answer(answer))
    }

    /// Stops working it. The answer comes when none of its jobs runs here.
    pub(crate) fn detach(&self, running: Detach) -> Result<Answer<()>, ApplyError> {
        let (reply, answer) = oneshot::channel();
        self.send(Message::Detach(running, reply))?;
        if running == Detach::GiveBack
            && let Some(serving) = self.serving()
        {
            // At once, whatever the task is doing.
            serving.worker.give_back();
        }
        Ok(Answer(answer))
    }

    /// What it is doing; none where it does not serve yet and nothing keeps it from it.
    pub(crate) fn status(&self, identity: &Identity) -> Option<QueueStatus> {
        let refusal: Guard<Option<Arc<Refusal>>> = self.shared.refusal.load();
        let common = QueueStatus {
            queue: self.name().to_string(),
            host: identity.host.clone(),
            name: identity.name.clone(),
            admin: identity.admin.get().map(ToString::to_string),
            refusal: refusal.as_deref().cloned(),
            alive: true,
            ..QueueStatus::default()
        };
        let Some(serving) = self.serving() else {
            return common.refusal.is_some().then_some(common);
        };
        let (versions, view) = (serving.versions(), serving.worker.view());
        let digest = |version: &Version| version.digest().to_string();
        Some(QueueStatus {
            revision: self.shared.revision.load(Ordering::Relaxed),
            active: versions.active().as_deref().map(digest),
            candidate: versions.canary().map(|canary| digest(&canary.version)),
            versions: versions.report(),
            concurrency: view.concurrency(),
            running: view.running(),
            paused: view.is_paused(),
            grants: versions.policy().grants.describe(),
            ..common
        })
    }
}
