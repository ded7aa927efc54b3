//! Parents and children in a dry run: what becomes of a parent when a child ends or goes away.

use std::collections::BTreeSet;

use super::store::{State, Store};
use crate::backend::JobError;
use crate::names::JobRef;
use crate::policy::QueueAccess;

impl Store {
    pub(super) fn child_completed(&mut self, parent: &JobRef, child: &JobRef, value: String) {
        let Some(job) = self.jobs.get_mut(parent) else {
            return;
        };
        if job.children.pending.remove(child) {
            job.children.processed.insert(child.clone(), value);
            self.release_if_free(parent);
        }
    }

    /// A child failed for good: its own options say what that means for its parent.
    pub(super) fn child_failed(&mut self, parent: &JobRef, child: &JobRef, reason: &str) {
        let has = |option: &str| self.jobs.get(child).is_some_and(|job| job.flag(option));
        let fails = has("failParentOnFailure");
        let continues = has("continueParentOnFailure");
        let ignored = has("ignoreDependencyOnFailure");
        if !(fails || continues || ignored || has("removeDependencyOnFailure")) {
            return;
        }
        let Some(job) = self.jobs.get_mut(parent) else {
            return;
        };
        if !job.children.pending.remove(child) {
            return;
        }
        if fails {
            job.children.failed.push(child.clone());
            self.fail_parent(parent, child);
            return;
        }
        if continues || ignored {
            job.children
                .ignored
                .insert(child.clone(), reason.to_owned());
        }
        if continues {
            self.release_if_waiting(parent);
        } else {
            self.release_if_free(parent);
        }
    }

    /// A parent fails together with its child. It learns of it when it is picked up next.
    fn fail_parent(&mut self, parent: &JobRef, child: &JobRef) {
        let Some(job) = self.jobs.get_mut(parent) else {
            return;
        };
        if job.state == State::Failed {
            return;
        }
        job.deferred_failure = Some(format!("child {child} failed"));
        match job.state {
            State::WaitingChildren => self.release(parent),
            State::Delayed(_) => self.make_ready(parent, true),
            _ => {}
        }
    }

    pub(super) fn release_if_free(&mut self, parent: &JobRef) {
        if self
            .jobs
            .get(parent)
            .is_some_and(|job| job.children.pending.is_empty())
        {
            self.release_if_waiting(parent);
        }
    }

    fn release_if_waiting(&mut self, parent: &JobRef) {
        if self
            .jobs
            .get(parent)
            .is_some_and(|job| job.state == State::WaitingChildren)
        {
            self.release(parent);
        }
    }

    fn release(&mut self, parent: &JobRef) {
        match self.jobs.get(parent).map_or(0, |job| job.delay_ms) {
            0 => self.make_ready(parent, true),
            delay_ms => self.delay(parent, delay_ms),
        }
    }

    /// Frees a job from its parent. False: the parent did not wait for it.
    pub(super) fn leave_parent(&mut self, id: &JobRef) -> Result<bool, JobError> {
        let parent = self.jobs.get(id).and_then(|job| job.parent.clone());
        let missing = |parent: &str| {
            JobError::NotFound(format!(
                "Missing key for parent job {parent}. removeChildDependency"
            ))
        };
        let parent = parent.ok_or_else(|| missing("undefined"))?;
        let Some(job) = self.jobs.get_mut(&parent) else {
            return Err(missing(&parent.to_string()));
        };
        if !job.children.pending.remove(id) {
            return Ok(false);
        }
        self.release_if_free(&parent);
        if let Some(job) = self.jobs.get_mut(id) {
            (job.parent, job.parent_record) = (None, None);
        }
        Ok(true)
    }

    /// Removes a job and, if asked, its children: all of it or, where some of it is not admitted, nothing.
    pub(super) fn remove(
        &mut self,
        id: &JobRef,
        with_children: bool,
        access: &QueueAccess,
    ) -> Result<(), JobError> {
        if !self.jobs.contains_key(id) {
            return Err(JobError::NotFound(format!(
                "Missing key for job {}. removeJob",
                id.id
            )));
        }
        let mut tree = BTreeSet::new();
        self.gather(id, with_children, false, &mut tree);
        self.check_access(&tree, access)?;
        if tree
            .iter()
            .any(|id| self.jobs.get(id).map(|job| job.state) == Some(State::Active))
        {
            return Err(JobError::NotInState(format!(
                "Job {} could not be removed because it is locked by another worker",
                id.id
            )));
        }
        self.remove_all(&tree);
        Ok(())
    }

    /// Removes the children that are neither active nor finished; returns how many.
    pub(super) fn remove_unprocessed_children(
        &mut self,
        id: &JobRef,
        access: &QueueAccess,
    ) -> Result<u64, JobError> {
        let pending = self.jobs.get(id).map(|job| job.children.pending.clone());
        let pending = pending.unwrap_or_default();
        let mut tree = BTreeSet::new();
        for child in &pending {
            self.gather(child, true, true, &mut tree);
        }
        self.check_access(&tree, access)?;
        let removed = pending.iter().filter(|child| tree.contains(*child)).count();
        self.remove_all(&tree);
        Ok(removed as u64)
    }

    fn gather(
        &self,
        id: &JobRef,
        with_children: bool,
        unprocessed_only: bool,
        tree: &mut BTreeSet<JobRef>,
    ) {
        let Some(job) = self.jobs.get(id) else { return };
        let is_spared = unprocessed_only && (job.state == State::Active || job.state.is_finished());
        if is_spared || !tree.insert(id.clone()) || !with_children {
            return;
        }
        let children = &job.children;
        let finished = children
            .processed
            .keys()
            .chain(children.ignored.keys())
            .chain(&children.failed)
            .filter(|_| !unprocessed_only);
        for child in children.pending.iter().chain(finished) {
            self.gather(child, true, unprocessed_only, tree);
        }
    }

    fn check_access(&self, tree: &BTreeSet<JobRef>, access: &QueueAccess) -> Result<(), JobError> {
        for id in tree {
            access.check_queue(&id.queue)?;
            let parent = self.jobs.get(id).and_then(|job| job.parent.as_ref());
            if let Some(parent) = parent.filter(|parent| **parent != access.own_job) {
                access.check_queue(&parent.queue)?;
            }
        }
        Ok(())
    }

    fn remove_all(&mut self, tree: &BTreeSet<JobRef>) {
        for id in tree {
            let parent = self.forget(id).and_then(|job| job.parent);
            let Some(parent) = parent.filter(|parent| !tree.contains(parent)) else {
                continue;
            };
            if let Some(job) = self.jobs.get_mut(&parent)
                && job.children.pending.remove(id)
            {
                self.release_if_free(&parent);
            }
        }
    }
}
