//! Recordings of attempts, beside the queue. What is in them is the sandbox's business.

use crate::error::QueueError;
use crate::kv::KvOwner;
use crate::queue::Queue;
use crate::redis::script::script;

/// Recordings that one call drops.
const DROPPED_MAX: usize = 1000;

/// How many recordings a queue keeps.
#[derive(Debug, Clone, Copy)]
pub struct RecordingLimits {
    /// How many.
    pub count_max: u64,
    /// How many bytes of them.
    pub bytes_max: u64,
    /// How long, in ms.
    pub age_ms: u64,
}

/// A recording, without what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordingEntry {
    /// The job's id.
    pub id: String,
    /// Which start of the job it was.
    pub attempt: u32,
    /// When it was stored, in ms since the epoch.
    pub at_ms: u64,
    /// How many bytes it has.
    pub bytes: u64,
    /// What came of the attempt, for people.
    pub about: String,
}

impl RecordingEntry {
    fn name(&self) -> String {
        format!("{}:{}", self.id, self.attempt)
    }
}

impl Queue {
    /// What the keys of recordings begin with, and their index.
    fn recording_keys(&self) -> (String, String) {
        let (space, _) = self.kv_space(KvOwner::Queue);
        (format!("{space}:rec:"), format!("{space}:recordings"))
    }

    /// Stores the recording of one start of a job; drops older ones beyond the limits. False: it is larger than all that may
    /// be kept.
    pub async fn store_recording(
        &self,
        (id, attempt): (&str, u32),
        recording: &[u8],
        about: &str,
        limits: &RecordingLimits,
    ) -> Result<bool, QueueError> {
        let (recordings, index) = self.recording_keys();
        let script = script!("store_recording");
        let mut call = script.call(&format!("{index}:meta"));
        call.arg(format!("{id}:{attempt}"))
            .arg(recording)
            .arg(about)
            .arg(limits.age_ms.min(crate::time::SAFE_INTEGER_MAX))
            .arg(limits.count_max)
            .arg(limits.bytes_max)
            .arg(recordings);
        let stored: i64 = self.redis.run(script, &call).await?;
        Ok(stored == 1)
    }

    /// The newest recordings, newest first.
    pub async fn recordings(&self, count: usize) -> Result<Vec<RecordingEntry>, QueueError> {
        let (recordings, index) = self.recording_keys();
        // A last place of -1 would be that of the last one of all.
        let Some(last) = count.checked_sub(1) else {
            return Ok(Vec::new());
        };
        let last = i64::try_from(last).unwrap_or(i64::MAX);
        let mut redis = self.redis.shared();
        let mut list = redis::cmd("ZREVRANGE");
        list.arg(format!("{index}:list")).arg(0).arg(last);
        list.arg("WITHSCORES");
        let named: Vec<(String, f64)> = list.query_async(&mut redis).await?;
        if named.is_empty() {
            return Ok(Vec::new());
        }
        let mut asked = redis::pipe();
        let mut about = redis::cmd("HMGET");
        about.arg(format!("{index}:about"));
        named.iter().for_each(|(name, _)| {
            about.arg(name);
        });
        asked.add_command(about);
        for (name, _) in &named {
            asked.cmd("EXISTS").arg(format!("{recordings}{name}"));
        }
        let answers: Vec<redis::Value> = asked.query_async(&mut redis).await?;
        let mut answers = answers.into_iter();
        let unread = |_| QueueError::Reply("recordings");
        let about = answers.next().unwrap_or(redis::Value::Nil);
        let about: Vec<Option<String>> = redis::from_redis_value(about).map_err(unread)?;
        let entries = named.into_iter().zip(about).zip(answers);
        let entries = entries.filter_map(|(((name, at_ms), about), exists)| {
            let (id, attempt) = name.rsplit_once(':')?;
            let about = about?;
            let (bytes, about) = about.split_once(' ')?;
            // Redis drops one by itself when its time has come.
            matches!(exists, redis::Value::Int(1)).then_some(RecordingEntry {
                id: id.to_owned(),
                attempt: attempt.parse().ok()?,
                at_ms: at_ms as u64,
                bytes: bytes.parse().ok()?,
                about: about.to_owned(),
            })
        });
        Ok(entries.collect())
    }

    /// Reads a recording.
    pub async fn recording(&self, id: &str, attempt: u32) -> Result<Option<Vec<u8>>, QueueError> {
        let (recordings, _) = self.recording_keys();
        let mut get = redis::cmd("GET");
        get.arg(format!("{recordings}{id}:{attempt}"));
        Ok(get.query_async(&mut self.redis.shared()).await?)
    }

    /// Drops all recordings; returns how many there were.
    pub async fn drop_all_recordings(&self) -> Result<u64, QueueError> {
        let (_, index) = self.recording_keys();
        let mut list = redis::cmd("ZRANGE");
        list.arg(format!("{index}:list"))
            .arg(0)
            .arg(DROPPED_MAX - 1);
        let mut dropped = 0;
        loop {
            // By name: a listed recording may be gone, and older ones be there.
            let names: Vec<String> = list.query_async(&mut self.redis.shared()).await?;
            if names.is_empty() {
                break;
            }
            dropped += self.drop_named(&names).await?;
        }
        let mut rest = redis::cmd("UNLINK");
        for part in ["list", "about", "bytes"] {
            rest.arg(format!("{index}:{part}"));
        }
        rest.exec_async(&mut self.redis.shared()).await?;
        Ok(dropped)
    }

    /// Drops recordings; returns how many there were.
    pub async fn drop_recordings(&self, entries: &[RecordingEntry]) -> Result<u64, QueueError> {
        let names: Vec<_> = entries.iter().map(RecordingEntry::name).collect();
        let mut dropped = 0;
        for names in names.chunks(DROPPED_MAX) {
            dropped += self.drop_named(names).await?;
        }
        Ok(dropped)
    }

    async fn drop_named(&self, names: &[String]) -> Result<u64, QueueError> {
        let (recordings, index) = self.recording_keys();
        let script = script!("drop_recordings");
        let mut call = script.call(&format!("{index}:meta"));
        call.arg(&recordings);
        names.iter().for_each(|name| {
            call.arg(name);
        });
        self.redis.run(script, &call).await
    }
}
