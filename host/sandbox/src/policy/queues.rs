//! Which jobs of which queues an attempt may add, look at and remove.
//!
//! A call names jobs in more than one place: its target, a parent, the nodes of a flow; and some calls reach jobs
//! that they do not name: a flow is read downwards, a removal takes children along. For the first kind the guest
//! interface asks here before anything is done; for the second kind the backend gets the access and asks while
//! it looks, in the step that also writes.

use super::job_ids;
use crate::names::{InvalidName, JobRef, QueueRef};
use crate::new_jobs::{FlowNode, NewJob};

/// The queues that an attempt may reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueAccess {
    /// The running job: it may always get children.
    pub own_job: JobRef,
    /// All queues of this prefix.
    pub whole_prefix: Option<String>,
    /// These queues.
    pub queues: Vec<QueueRef>,
}

/// Why a call is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It was not granted; the text says what to add.
    #[error("{0}")]
    Denied(String),
    /// It names no queue or no job.
    #[error("{0}")]
    Invalid(String),
}

/// In `grants.queues`, all queues of the host's prefix.
const EVERY: &str = "*";

/// The queue that an entry of `grants.queues` names.
fn named(own_prefix: &str, name: &str) -> Result<QueueRef, InvalidName> {
    match name.contains(':') {
        true => QueueRef::parse(name),
        false => QueueRef::new(own_prefix, name),
    }
}

impl QueueAccess {
    /// What `grants.queues` says: names, `prefix:name` for one of another prefix, `*` for all of the prefix of
    /// the host, which is that of the job.
    pub fn of(granted: &[String], own_job: JobRef) -> Self {
        let mut whole_prefix = None;
        let mut queues = Vec::new();
        let own_prefix = own_job.queue.prefix();
        for name in granted {
            match name.as_str() {
                EVERY => whole_prefix = Some(own_prefix.to_owned()),
                name => queues.extend(named(own_prefix, name)),
            }
        }
        QueueAccess {
            own_job,
            whole_prefix,
            queues,
        }
    }

    /// Refuses what names no queue in `grants.queues`.
    pub fn check(granted: &[String]) -> Result<(), InvalidName> {
        let mut names = granted.iter().filter(|name| *name != EVERY);
        // Any prefix does: the host's is not empty.
        names.try_for_each(|name| named("bull", name).map(drop))
    }

    /// True when jobs of this queue may be reached.
    pub fn admits(&self, queue: &QueueRef) -> bool {
        self.whole_prefix.as_deref() == Some(queue.prefix()) || self.queues.contains(queue)
    }

    /// May this queue be used?
    pub fn check_queue(&self, queue: &QueueRef) -> Result<(), Refusal> {
        if self.admits(queue) {
            return Ok(());
        }
        Err(self.denial(queue))
    }

    /// May this job be named?
    pub fn check_job(&self, job: &JobRef) -> Result<(), Refusal> {
        self.check_queue(&job.queue)?;
        check_id(&job.id)
    }

    /// May this scheduler be named?
    pub fn check_scheduler(&self, queue: &QueueRef, id: &str) -> Result<(), Refusal> {
        self.check_queue(queue)?;
        match job_ids::refuse_scheduler(id) {
            Some(reason) => Err(Refusal::Invalid(reason)),
            None => Ok(()),
        }
    }

    /// May this job get children?
    pub fn check_parent(&self, parent: &JobRef) -> Result<(), Refusal> {
        if *parent == self.own_job {
            return Ok(());
        }
        self.check_job(parent)
    }

    /// May this job be added to this queue?
    pub fn check_new_job(&self, queue: &QueueRef, job: &NewJob) -> Result<(), Refusal> {
        self.check_queue(queue)?;
        // What BullMQ refuses of an id is refused where the job is added, in BullMQ's words.
        if let Some(id) = job.options.get("jobId").and_then(|id| id.as_str())
            && id.contains(':')
            && id.split(':').count() == 3
        {
            check_id(id)?;
        }
        job.parent
            .iter()
            .try_for_each(|parent| self.check_parent(parent))
    }

    /// May this flow be added?
    pub fn check_flow(&self, node: &FlowNode) -> Result<(), Refusal> {
        self.check_new_job(&node.queue, &node.job)?;
        node.children
            .iter()
            .try_for_each(|child| self.check_flow(child))
    }

    /// Says that a queue was not granted, and what grants it.
    pub fn denial(&self, queue: &QueueRef) -> Refusal {
        let own = &self.own_job.queue;
        let shown = if queue.prefix() == own.prefix() {
            queue.name().to_owned()
        } else {
            queue.to_string()
        };
        let own = own.name();
        Refusal::Denied(format!(
            "processor of queue `{own}` may not use queue `{shown}`\nhint: add `{shown}` to `grants.queues` of `{own}`"
        ))
    }
}

fn check_id(id: &str) -> Result<(), Refusal> {
    match job_ids::refuse(id) {
        Some(reason) => Err(Refusal::Invalid(reason)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(queue: &str, id: &str) -> JobRef {
        JobRef {
            queue: QueueRef::parse(queue).unwrap(),
            id: id.to_owned(),
        }
    }

    fn access(granted: &[&str]) -> QueueAccess {
        let granted: Vec<String> = granted.iter().map(|name| (*name).to_owned()).collect();
        QueueAccess::of(&granted, job("bull:ring", "1"))
    }

    #[test]
    fn entries_that_name_no_queue_are_refused() {
        let check = |name: &str| QueueAccess::check(&[name.to_owned()]).is_ok();
        // A prefix may contain `:`.
        assert!(
            ["*", "ring", "other:ring", "p:q:ring"]
                .into_iter()
                .all(check)
        );
        assert!(!["", ":", ":ring", "other:", "p:q:"].into_iter().any(check));
    }

    #[test]
    fn queues_are_those_that_were_named() {
        let admits = |granted: &[&str], queue: &str| {
            access(granted).admits(&QueueRef::parse(queue).unwrap())
        };
        let two = ["paint", "other:fix", "bull:full"];
        for queue in ["bull:paint", "other:fix", "bull:full"] {
            assert!(admits(&two, queue), "{queue}");
        }
        for queue in ["bull:fix", "other:paint", "bull:ring", "bull:a:paint"] {
            assert!(!admits(&two, queue), "{queue}");
        }
        assert!(admits(&["*"], "bull:any") && !admits(&["*"], "other:any"));
        assert!(!admits(&["*"], "bull:any:deeper") && !admits(&[], "bull:ring"));
        assert!(!admits(&["other:*"], "other:any"));
    }

    #[test]
    fn parent_is_the_running_job_or_lies_in_a_granted_queue() {
        let access = access(&["paint"]);
        for parent in [job("bull:ring", "1"), job("bull:paint", "7")] {
            assert_eq!(access.check_parent(&parent), Ok(()));
        }
        for parent in [
            job("bull:ring", "2"),
            job("other:paint", "7"),
            job("other:ring", "1"),
        ] {
            let refusal = access.check_parent(&parent).unwrap_err();
            assert!(matches!(refusal, Refusal::Denied(_)), "{parent}");
        }
        let refusal = access.check_parent(&job("bull:paint", "a:5")).unwrap_err();
        assert_eq!(
            refusal,
            Refusal::Invalid("`a:5` is not the id of a job".into())
        );
    }

    #[test]
    fn denial_names_the_line_to_add() {
        let queue = QueueRef::parse("other:payments").unwrap();
        assert_eq!(
            access(&[]).denial(&queue).to_string(),
            "processor of queue `ring` may not use queue `other:payments`\n\
             hint: add `other:payments` to `grants.queues` of `ring`"
        );
    }
}
