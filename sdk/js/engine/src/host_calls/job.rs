//! `__toril.job`: the interface `current-job`.

use rquickjs::function::Opt;
use rquickjs::{Ctx, Object, Result};

use super::{Answer, Calls, Pairs, Text, Whole};
use crate::bindings::toril::processor::current_job;

pub(super) fn object<'js>(ctx: &Ctx<'js>) -> Result<Object<'js>> {
    let calls = Calls::new(ctx, "job.")?;
    add_fields(&calls)?;
    add_changes(&calls)?;
    add_children(&calls)?;
    Ok(calls.object)
}

fn add_fields(calls: &Calls<'_>) -> Result<()> {
    calls.add("id", current_job::id)?;
    calls.add("name", current_job::name)?;
    calls.add("queueName", current_job::queue_name)?;
    calls.add("queueQualifiedName", current_job::queue_qualified_name)?;
    calls.add("data", current_job::data)?;
    calls.add("opts", current_job::opts)?;
    calls.add("attemptsMade", current_job::attempts_made)?;
    calls.add("attemptsStarted", current_job::attempts_started)?;
    calls.add("timestamp", current_job::timestamp)?;
    calls.add("delay", current_job::delay)?;
    calls.add("priority", current_job::priority)?;
    calls.add("progress", current_job::progress)?;
    calls.add("parentKey", current_job::parent_key)?;
    calls.add("parent", current_job::parent)?;
    calls.add("repeatJobKey", current_job::repeat_job_key)?;
    calls.add("stalledCounter", current_job::stalled_counter)?;
    calls.add("isCancelled", current_job::is_cancelled)?;
    calls.add("cancelReason", current_job::cancel_reason)?;
    calls.add("failedReason", current_job::failed_reason)?;
    calls.add("stacktrace", current_job::stacktrace)?;
    calls.add("processedOn", current_job::processed_on)?;
    calls.add("deduplicationId", current_job::deduplication_id)
}

fn add_changes(calls: &Calls<'_>) -> Result<()> {
    calls.add("updateData", |data: Text| {
        Answer(current_job::update_data(&data.0))
    })?;
    calls.add("updateProgress", |progress: Text| {
        Answer(current_job::update_progress(&progress.0))
    })?;
    calls.add("log", |line: Text| Answer(current_job::log(&line.0)))?;
    calls.add("moveToDelayed", |timestamp: Whole| {
        Answer(current_job::move_to_delayed(timestamp.0))
    })?;
    calls.add("moveToWaitingChildren", |child: Opt<Option<Text>>| {
        let child = child.0.flatten();
        let child = child.as_ref().map(|child| child.0.as_str());
        Answer(current_job::move_to_waiting_children(child))
    })?;
    calls.add("moveToWait", || Answer(current_job::move_to_wait()))
}

fn add_children(calls: &Calls<'_>) -> Result<()> {
    calls.add("childrenValues", || {
        Answer(current_job::children_values().map(Pairs))
    })?;
    calls.add("failedChildrenValues", || {
        Answer(current_job::failed_children_values().map(Pairs))
    })?;
    calls.add("dependencies", |query: Text| {
        Answer(current_job::dependencies(&query.0))
    })?;
    calls.add("dependenciesCount", |kinds: Text| {
        Answer(current_job::dependencies_count(&kinds.0))
    })?;
    calls.add("removeUnprocessedChildren", || {
        Answer(current_job::remove_unprocessed_children())
    })?;
    calls.add("removeChildDependency", || {
        Answer(current_job::remove_child_dependency())
    })
}
