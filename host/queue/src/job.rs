//! A job as a worker is handed it.

use std::sync::Arc;

use toril_options::{JobOptions, js};

use crate::redis::text::text;
use crate::steps::STEP_PREFIX;
use crate::time::now_ms;

/// A job that this worker took and holds the lock of. JSON stays text.
#[derive(Debug, Clone)]
pub struct Job {
    /// The job's id.
    pub id: Arc<str>,
    /// The token of its lock.
    pub token: Arc<str>,
    /// The job's name.
    pub name: String,
    /// The data as stored: text, since nothing vouches for its being JSON.
    pub data: String,
    /// The options as stored.
    pub opts_json: String,
    /// The options that the worker looks at.
    pub options: JobOptions,
    /// When the job was added, in ms since the epoch.
    pub timestamp: u64,
    /// How long it was delayed, in ms; 0 once it became due.
    pub delay_ms: u64,
    /// 0 is none.
    pub priority: u32,
    /// JSON text.
    pub progress: String,
    /// Attempts that ended in completion or failure.
    pub attempts_made: u32,
    /// Times it was picked up, this one included.
    pub attempts_started: u32,
    /// Times it was given back because its worker had died.
    pub stalled_counter: u32,
    /// The parent's key.
    pub parent_key: Option<String>,
    /// The parent's record, JSON text.
    pub parent: Option<String>,
    /// The id of its scheduler.
    pub scheduler: Option<String>,
    /// Why it must fail without running.
    pub deferred_failure: Option<String>,
    /// The stack traces so far, a JSON array.
    pub stacktrace: Option<String>,
    /// Why its last attempt failed.
    pub failed_reason: Option<String>,
    /// The deduplication id that it was added with.
    pub deduplication_id: Option<String>,
    /// When it was picked up, in ms since the epoch.
    pub processed_on: u64,
    /// The digest of the processor that it started on, where its queue pins jobs to versions.
    pub version: Option<String>,
    /// What it keeps of its steps: name and record. Only the attempt that holds its lock changes them.
    pub steps: Vec<(String, String)>,
    /// How many were dropped, by people who retried it.
    pub steps_dropped: u64,
    /// How many fields its hash had once it had started for the first time; none after that, and where a field
    /// is of a parent, of deduplication, or of a child that failed. While there are as many, settling it need
    /// look for none of these.
    pub plain_fields: Option<u32>,
}

impl Job {
    /// A job that is in no queue. `data` is JSON text.
    pub fn lone(name: &str, data: &str) -> Self {
        Job {
            id: "lone".into(),
            token: "".into(),
            name: name.to_owned(),
            data: data.to_owned(),
            opts_json: "{}".into(),
            options: JobOptions::default(),
            timestamp: now_ms(),
            delay_ms: 0,
            priority: 0,
            progress: "0".into(),
            attempts_made: 0,
            attempts_started: 1,
            stalled_counter: 0,
            parent_key: None,
            parent: None,
            scheduler: None,
            deferred_failure: None,
            stacktrace: None,
            failed_reason: None,
            deduplication_id: None,
            processed_on: now_ms(),
            version: None,
            steps: Vec::new(),
            steps_dropped: 0,
            plain_fields: None,
        }
    }

    /// Reads an id and the fields of a hash.
    pub(crate) fn from_hash<'a>(
        id: &[u8],
        fields: impl Iterator<Item = (&'a [u8], &'a [u8])>,
        token: &Arc<str>,
    ) -> Self {
        let mut job = Job {
            id: text(id).into(),
            token: Arc::clone(token),
            attempts_started: 0,
            timestamp: 0,
            processed_on: 0,
            ..Job::lone("", "{}")
        };
        let mut older_count = None;
        let (mut field_count, mut plain) = (0, true);
        for (name, value) in fields {
            field_count += 1;
            plain &= !matches!(name, b"parentKey" | b"parent" | b"deid" | b"defa" | b"ats");
            match name {
                b"name" => job.name = text(value),
                b"data" => job.data = text(value),
                b"opts" => job.opts_json = text(value),
                b"timestamp" => job.timestamp = number(value),
                b"delay" => job.delay_ms = number(value),
                b"priority" => job.priority = count(value),
                b"progress" => job.progress = text(value),
                b"atm" => job.attempts_made = count(value),
                b"ats" => job.attempts_started = count(value),
                b"stc" => job.stalled_counter = count(value),
                b"parentKey" => job.parent_key = Some(text(value)),
                b"parent" => job.parent = Some(text(value)),
                b"rjk" => job.scheduler = Some(text(value)),
                // To BullMQ an empty one is none.
                b"defa" => job.deferred_failure = Some(text(value)).filter(|it| !it.is_empty()),
                b"stacktrace" => job.stacktrace = Some(text(value)),
                b"failedReason" => job.failed_reason = Some(text(value)),
                b"deid" => job.deduplication_id = Some(text(value)),
                b"processedOn" => job.processed_on = number(value),
                b"torilVersion" => job.version = Some(text(value)),
                b"toril:steps-dropped" => job.steps_dropped = number(value),
                b"attemptsMade" => older_count = Some(count(value)),
                name => {
                    if let Some(name) = name.strip_prefix(STEP_PREFIX.as_bytes()) {
                        job.steps.push((text(name), text(value)));
                    }
                }
            }
        }
        // Jobs of BullMQ before 5 counted in `attemptsMade`.
        job.attempts_made = older_count.unwrap_or(job.attempts_made);
        job.options = JobOptions::parse(&job.opts_json);
        job.plain_fields = plain.then_some(field_count);
        job
    }

    /// Notes what the script that took the job wrote after it had read it.
    pub(super) fn note_start(&mut self, now_ms: u64, worker: Option<&str>, pin: Option<&str>) {
        // When and how often it started.
        let mut new_fields = 2 + u32::from(worker.is_some());
        self.attempts_started = self.attempts_started.saturating_add(1);
        self.processed_on = now_ms;
        if self.version.is_none() {
            self.version = pin.map(str::to_owned);
            new_fields += u32::from(pin.is_some());
        }
        self.plain_fields = self.plain_fields.map(|fields| fields + new_fields);
    }
}

fn count(bytes: &[u8]) -> u32 {
    u32::try_from(number(bytes)).unwrap_or(u32::MAX)
}

/// Reads a number as BullMQ does, with `parseInt`; what is none counts as 0, and what is too large as the largest.
fn number(bytes: &[u8]) -> u64 {
    // `as` saturates.
    js::parse_int(bytes) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_fields_do_not_lose_the_job() {
        let hash: [(&[u8], &[u8]); 7] = [
            (b"name", b"paint"),
            (b"data", &[0xff]),
            (b"opts", b"nope"),
            (b"progress", &[0xfe]),
            (b"ats", b"many"),
            (b"stc", b"2.0"),
            (b"toril:step:s\xff", b"\xff"),
        ];
        let mut job = Job::from_hash(b"1", hash.into_iter(), &"t:0".into());
        assert_eq!((&*job.id, &*job.name, job.attempts_made), ("1", "paint", 0));
        assert_eq!((&*job.data, &*job.progress), ("\u{fffd}", "\u{fffd}"));
        assert_eq!((job.attempts_started, job.stalled_counter), (0, 2));
        assert_eq!(job.steps, [("s\u{fffd}".to_owned(), "\u{fffd}".to_owned())]);
        assert_eq!(job.options, JobOptions::default());
        job.note_start(7, None, Some("sha256:1"));
        assert_eq!((job.attempts_started, job.processed_on), (1, 7));
        assert_eq!(job.version.as_deref(), Some("sha256:1"));
    }

    #[test]
    fn failure_of_a_child_without_a_reason_is_none() {
        for (stored, expected) in [("", None), ("child failed", Some("child failed"))] {
            let hash: [(&[u8], &[u8]); 1] = [(b"defa", stored.as_bytes())];
            let job = Job::from_hash(b"1", hash.into_iter(), &"t:0".into());
            assert_eq!(job.deferred_failure.as_deref(), expected);
        }
    }

    #[test]
    fn pinned_job_keeps_its_version() {
        let hash: [(&[u8], &[u8]); 2] = [(b"torilVersion", b"sha256:1"), (b"ats", b"3")];
        let mut job = Job::from_hash(b"1", hash.into_iter(), &"t:0".into());
        job.note_start(7, Some("worker"), Some("sha256:2"));
        assert_eq!(job.version.as_deref(), Some("sha256:1"));
        assert_eq!(job.attempts_started, 4);
    }
}
