//! What a worker tells those who listen: BullMQ's `worker.on` events. Nobody listening costs nothing.

mod changes;
mod mailbox;

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

pub(crate) use changes::Changes;
pub use mailbox::EventReader;
pub(crate) use mailbox::EventRoom;
use mailbox::Mailbox;
use toril_queue::{FailedAttempt, Job, JobJson, SettlementKind, json, raw_json};

/// One event of a worker.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkerEvent {
    /// `active`, `completed`, `failed`, `progress`, `stalled`, `drained`, `error` or `lockLost`. Those who listen closely
    /// hear `call`, `moved`, `building`, `serving` and `refused`, too.
    pub name: &'static str,
    /// What BullMQ hands to the listener, by the names of its arguments: JSON, in one line.
    pub arguments: Bytes,
}

impl WorkerEvent {
    /// The arguments, read.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.arguments).unwrap_or_default()
    }
}

/// Those who listen to a worker.
#[derive(Clone, Default)]
pub struct Listeners(Arc<Inner>);

#[derive(Default)]
struct Inner {
    readers: Readers,
    /// Those of them who also hear what a processor calls and what becomes of its file.
    close_readers: Readers,
    room: EventRoom,
}

#[derive(Default)]
struct Readers {
    list: Mutex<Vec<Weak<Mailbox>>>,
    /// How many there may be: zero is looked at without the lock.
    count: AtomicUsize,
}

impl Drop for Inner {
    fn drop(&mut self) {
        let readers = self.readers.list.get_mut();
        let readers = readers.iter().filter_map(Weak::upgrade);
        readers.for_each(|reader| reader.close());
    }
}

impl Readers {
    fn has_any(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    fn add(&self, mailbox: &Arc<Mailbox>) {
        let mut readers = self.list.lock();
        readers.retain(|reader| reader.strong_count() > 0);
        readers.push(Arc::downgrade(mailbox));
        self.count.store(readers.len(), Ordering::Relaxed);
    }

    fn mailboxes(&self) -> Vec<Arc<Mailbox>> {
        let mut mailboxes: Vec<Arc<Mailbox>> = Vec::new();
        let mut readers = self.list.lock();
        readers.retain(|reader| {
            mailboxes.extend(reader.upgrade());
            reader.strong_count() > 0
        });
        self.count.store(readers.len(), Ordering::Relaxed);
        mailboxes
    }
}

/// What `completed`, `failed` and `progress` hand over.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OfJob<'a, A> {
    job_id: &'a str,
    job: JobJson<'a>,
    #[serde(flatten)]
    arguments: A,
}

#[derive(Serialize)]
struct Active {
    prev: &'static str,
}

#[derive(Serialize)]
struct Completed<'a> {
    result: Option<&'a RawValue>,
    prev: &'static str,
}

#[derive(Serialize)]
struct Failed<'a> {
    error: JobFailure<'a>,
    prev: &'static str,
    /// False where the job is tried again.
    r#final: bool,
}

#[derive(Serialize)]
struct JobFailure<'a> {
    message: &'a str,
    stack: Option<String>,
}

#[derive(Serialize)]
struct Progress<'a> {
    progress: Option<&'a RawValue>,
}

impl Listeners {
    /// Nobody yet. `room` is shared by the queues of a host.
    pub(crate) fn new(room: EventRoom) -> Self {
        Listeners(Arc::new(Inner {
            readers: Readers::default(),
            close_readers: Readers::default(),
            room,
        }))
    }

    /// Listens from now on.
    pub fn subscribe(&self) -> EventReader {
        let mailbox = Arc::new(Mailbox::default());
        self.0.readers.add(&mailbox);
        EventReader(mailbox)
    }

    /// Listens from now on, also to each call that a processor makes, and to what becomes of its file.
    pub(crate) fn subscribe_closely(&self) -> EventReader {
        let reader = self.subscribe();
        self.0.close_readers.add(&reader.0);
        reader
    }

    /// True while somebody may listen closely.
    pub(crate) fn has_close_reader(&self) -> bool {
        self.0.close_readers.has_any()
    }

    /// True while somebody may listen.
    pub(crate) fn has_any(&self) -> bool {
        self.0.readers.has_any()
    }

    /// Tells of an event. `bytes` is how large it is, about: one that nobody has room for is not even written.
    fn tell(&self, name: &'static str, bytes: usize, text: impl FnOnce() -> Vec<u8>) {
        self.tell_those(&self.0.readers, name, bytes, text);
    }

    /// Tells those who listen closely.
    fn tell_closely(&self, name: &'static str, arguments: impl FnOnce() -> Value) {
        let text = || in_one_line(&arguments());
        self.tell_those(&self.0.close_readers, name, 0, text);
    }

    fn tell_those(
        &self,
        readers: &Readers,
        name: &'static str,
        bytes: usize,
        text: impl FnOnce() -> Vec<u8>,
    ) {
        if !readers.has_any() {
            return;
        }
        let mailboxes = readers.mailboxes();
        let room = &self.0.room;
        let fits = room.has(bytes) && mailboxes.iter().any(|mailbox| mailbox.has_room(bytes));
        let event = fits
            .then(text)
            .and_then(|text| room.admit(text))
            .map(|arguments| WorkerEvent { name, arguments });
        for mailbox in mailboxes {
            mailbox.put(event.as_ref());
        }
    }

    pub(crate) fn active(&self, job: &Job) {
        self.tell("active", size_of(job), || {
            in_one_line(&OfJob {
                job_id: &job.id,
                job: JobJson::of(job),
                arguments: Active { prev: "waiting" },
            })
        });
    }

    /// A job was settled, at `at_ms` since the epoch.
    pub(crate) fn settled(&self, job: &Job, changes: &Changes, kind: &SettlementKind, at_ms: u64) {
        match kind {
            SettlementKind::Completed {
                value,
                attempts_made,
                ..
            } => self.completed(job, changes, value, *attempts_made, at_ms),
            SettlementKind::Failed { attempt, .. } => {
                self.failed(job, changes, attempt, FailedTo::Failed { at_ms });
            }
            SettlementKind::Retry { attempt, .. } => {
                self.failed(job, changes, attempt, FailedTo::Retry { delay_ms: 0 });
            }
            SettlementKind::Delayed {
                attempt: Some(attempt),
                delay_ms,
            } => {
                let delay_ms = *delay_ms;
                self.failed(job, changes, attempt, FailedTo::Retry { delay_ms });
            }
            SettlementKind::Delayed { attempt: None, .. } => self.moved(job, "delayed"),
            SettlementKind::Wait | SettlementKind::GiveBack { .. } => self.moved(job, "waiting"),
            SettlementKind::WaitingChildren { .. } => self.moved(job, "waiting-children"),
        }
    }

    fn completed(&self, job: &Job, changes: &Changes, value: &str, attempts_made: u32, at_ms: u64) {
        self.tell("completed", size_of(job) + 2 * value.len(), || {
            let stored = changes.stored();
            let result = raw_json(value.as_bytes());
            in_one_line(&OfJob {
                job_id: &job.id,
                job: JobJson {
                    attempts_made,
                    returnvalue: result,
                    finished_on: Some(at_ms),
                    ..stored.show(job)
                },
                arguments: Completed {
                    result,
                    prev: "active",
                },
            })
        });
    }

    fn failed(&self, job: &Job, changes: &Changes, attempt: &FailedAttempt, to: FailedTo) {
        let FailedAttempt {
            made,
            reason,
            stacktrace,
        } = attempt;
        let bytes = size_of(job) + 2 * (reason.len() + stacktrace.len());
        self.tell("failed", bytes, || {
            let stored = changes.stored();
            let (finished_on, delay) = match to {
                FailedTo::Failed { at_ms } => (Some(at_ms), 0),
                FailedTo::Retry { delay_ms } => (None, delay_ms),
            };
            let mut stacks: Vec<String> = json::read(stacktrace).unwrap_or_default();
            in_one_line(&OfJob {
                job_id: &job.id,
                job: JobJson {
                    attempts_made: *made,
                    failed_reason: Some(reason),
                    stacktrace: raw_json(stacktrace.as_bytes()),
                    finished_on,
                    delay,
                    ..stored.show(job)
                },
                arguments: Failed {
                    error: JobFailure {
                        message: reason,
                        stack: stacks.pop(),
                    },
                    prev: "active",
                    r#final: finished_on.is_some(),
                },
            })
        });
    }

    pub(crate) fn progress(&self, job: &Job, changes: &Changes, progress: &str) {
        self.tell("progress", size_of(job) + 2 * progress.len(), || {
            in_one_line(&OfJob {
                job_id: &job.id,
                job: changes.stored().show(job),
                arguments: Progress {
                    progress: raw_json(progress.as_bytes()),
                },
            })
        });
    }

    /// A job left this worker, neither completed nor failed.
    fn moved(&self, job: &Job, to: &str) {
        self.tell_closely("moved", || json!({ "jobId": &*job.id, "to": to }));
    }

    /// A processor made a call, or printed a line.
    pub(crate) fn call(&self, job_id: &str, call: &str) {
        self.tell_closely("call", || json!({ "jobId": job_id, "call": call }));
    }

    /// The file of a processor is read, and built where it is source.
    pub(crate) fn building(&self, file: &Path) {
        self.tell_closely("building", || json!({ "file": file.display().to_string() }));
    }

    /// Another processor serves now. `took` is how long it took to get it ready.
    pub(crate) fn serving(&self, digest: &str, took: Duration) {
        let took_ms = took.as_millis() as u64;
        self.tell_closely("serving", || json!({ "digest": digest, "tookMs": took_ms }));
    }

    /// A processor or a setting was refused; what served before goes on.
    pub(crate) fn refused(&self, reason: &str) {
        self.tell_closely("refused", || json!({ "reason": reason }));
    }

    pub(crate) fn stalled(&self, job_id: &str) {
        let event = || in_one_line(&json!({ "jobId": job_id, "prev": "active" }));
        self.tell("stalled", job_id.len(), event);
    }

    pub(crate) fn drained(&self) {
        self.tell("drained", 0, || in_one_line(&json!({})));
    }

    pub(crate) fn error(&self, error: &impl std::fmt::Display) {
        let event = || in_one_line(&json!({ "error": { "message": error.to_string() } }));
        self.tell("error", 0, event);
    }

    pub(crate) fn lock_lost(&self, job_id: &str) {
        let event = || in_one_line(&json!({ "jobId": job_id }));
        self.tell("lockLost", job_id.len(), event);
    }
}

/// Where a failed attempt leaves its job.
enum FailedTo {
    Failed { at_ms: u64 },
    Retry { delay_ms: u64 },
}

fn size_of(job: &Job) -> usize {
    job.data.len() + job.opts_json.len()
}

/// JSON without a line's end: producers may store values in several lines, and a line's end can stand only between
/// their parts.
fn in_one_line(arguments: &impl Serialize) -> Vec<u8> {
    // Plain data with names of text, which can always be written.
    let mut text = serde_json::to_vec(arguments).unwrap_or_else(|_| b"null".to_vec());
    for byte in &mut text {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    text
}
