//! `toril:processor/jobs`: the job of the attempt, by the handle that its guest was given.

use wasmtime::component::Resource;

use super::AttemptState;
use super::current_job::Answer;
use crate::bindings::JobHandle;
use crate::bindings::plain::toril::processor::current_job::Host as CurrentJob;
use crate::bindings::toril::processor::jobs::{Host, HostJob};

impl Host for AttemptState {}

/// Each call of `jobs.job` is the call of the same name in `current-job`: a store has one job, so the handle says nothing.
macro_rules! calls_of_current_job {
    (
        at once { $($now:ident($($given:ident: $kind:ty),*) -> $said:ty;)* }
        by the backend { $($later:ident($($sent:ident: $form:ty),*) -> $answer:ty;)* }
    ) => {
        impl HostJob for AttemptState {
            $(fn $now(&mut self, _: Resource<JobHandle>, $($given: $kind),*) -> wasmtime::Result<$said> {
                CurrentJob::$now(self, $($given),*)
            })*

            $(async fn $later(&mut self, _: Resource<JobHandle>, $($sent: $form),*) -> Answer<$answer> {
                CurrentJob::$later(self, $($sent),*).await
            })*

            fn drop(&mut self, _: Resource<JobHandle>) -> wasmtime::Result<()> {
                Ok(())
            }
        }
    };
}

calls_of_current_job! {
    at once {
        id() -> String;
        name() -> String;
        queue_name() -> String;
        queue_qualified_name() -> String;
        data() -> String;
        opts() -> String;
        attempts_made() -> u32;
        attempts_started() -> u32;
        timestamp() -> u64;
        delay() -> u64;
        priority() -> u32;
        progress() -> String;
        parent_key() -> Option<String>;
        parent() -> Option<String>;
        repeat_job_key() -> Option<String>;
        stalled_counter() -> u32;
        is_cancelled() -> bool;
        cancel_reason() -> Option<String>;
        failed_reason() -> Option<String>;
        stacktrace() -> Vec<String>;
        processed_on() -> u64;
        deduplication_id() -> Option<String>;
    }
    by the backend {
        update_data(data: String) -> ();
        update_progress(progress: String) -> ();
        log(line: String) -> u64;
        move_to_delayed(timestamp_ms: u64) -> ();
        move_to_waiting_children(child: Option<String>) -> bool;
        move_to_wait() -> ();
        children_values() -> Vec<(String, String)>;
        failed_children_values() -> Vec<(String, String)>;
        dependencies(query: String) -> String;
        dependencies_count(kinds: String) -> String;
        remove_unprocessed_children() -> u64;
        remove_child_dependency() -> bool;
    }
}
