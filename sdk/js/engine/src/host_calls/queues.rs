//! `__toril.producer`, `__toril.queues` and `__toril.schedulers`: the interfaces of these names.

use rquickjs::{Array, Ctx, Error, FromJs, Object, Result, Value};

use super::{Answer, Calls, Text, Whole};
use crate::bindings::toril::processor::producer::{self, NewJob};
use crate::bindings::toril::processor::queues::{self as host, Finished};
use crate::bindings::toril::processor::schedulers as host_schedulers;

pub(super) fn producer<'js>(ctx: &Ctx<'js>) -> Result<Object<'js>> {
    let calls = Calls::new(ctx, "producer.")?;
    calls.add("add", |queue: Text, job: NewJob| {
        Answer(producer::add(&queue.0, &job))
    })?;
    calls.add("addBulk", |queue: Text, jobs: Vec<NewJob>| {
        Answer(producer::add_bulk(&queue.0, &jobs))
    })?;
    calls.add("addFlows", |flows: Text, options: Text| {
        Answer(producer::add_flows(&flows.0, &options.0))
    })?;
    calls.add("getFlow", |queue: Text, id: Text, query: Text| {
        Answer(producer::get_flow(&queue.0, &id.0, &query.0))
    })?;
    calls.add("state", |queue: Text, id: Text| {
        Answer(producer::state(&queue.0, &id.0))
    })?;
    calls.add("remove", |queue: Text, id: Text, with_children: bool| {
        Answer(producer::remove(&queue.0, &id.0, with_children))
    })?;
    Ok(calls.object)
}

pub(super) fn queues<'js>(ctx: &Ctx<'js>) -> Result<Object<'js>> {
    let calls = Calls::new(ctx, "queues.")?;
    add_changes_of_jobs(&calls)?;
    calls.add("counts", |queue: Text| Answer(host::counts(&queue.0)))?;
    calls.add("removeDeduplicationKey", |queue: Text, id: Text| {
        Answer(host::remove_deduplication_key(&queue.0, &id.0))
    })?;
    calls.add("rateLimit", |queue: Text, duration: Whole| {
        Answer(host::rate_limit(&queue.0, duration.0))
    })?;
    calls.add(
        "publishEvent",
        |queue: Text, name: Text, fields: Vec<Pair>| {
            let fields: Vec<_> = fields
                .into_iter()
                .map(|Pair(key, value)| (key, value))
                .collect();
            Answer(host::publish_event(&queue.0, &name.0, &fields))
        },
    )?;
    Ok(calls.object)
}

fn add_changes_of_jobs(calls: &Calls<'_>) -> Result<()> {
    calls.add("changeDelay", |queue: Text, id: Text, delay: Whole| {
        Answer(host::change_delay(&queue.0, &id.0, delay.0))
    })?;
    calls.add(
        "changePriority",
        |queue: Text, id: Text, priority: u32, lifo: bool| {
            Answer(host::change_priority(&queue.0, &id.0, priority, lifo))
        },
    )?;
    calls.add("promote", |queue: Text, id: Text| {
        Answer(host::promote(&queue.0, &id.0))
    })?;
    calls.add("retry", |queue: Text, id: Text, ended: Finished| {
        Answer(host::retry(&queue.0, &id.0, ended))
    })
}

pub(super) fn schedulers<'js>(ctx: &Ctx<'js>) -> Result<Object<'js>> {
    let calls = Calls::new(ctx, "schedulers.")?;
    calls.add(
        "upsert",
        |queue: Text, id: Text, schedule: Text, template: NewJob| {
            let upserted = host_schedulers::upsert(&queue.0, &id.0, &schedule.0, &template);
            Answer(upserted)
        },
    )?;
    calls.add("remove", |queue: Text, id: Text| {
        Answer(host_schedulers::remove(&queue.0, &id.0))
    })?;
    calls.add("get", |queue: Text, id: Text| {
        Answer(host_schedulers::get(&queue.0, &id.0))
    })?;
    calls.add("list", |queue: Text, query: Text| {
        Answer(host_schedulers::list(&queue.0, &query.0))
    })?;
    Ok(calls.object)
}

impl<'js> FromJs<'js> for NewJob {
    fn from_js(ctx: &Ctx<'js>, value: Value<'js>) -> Result<Self> {
        let job = Object::from_js(ctx, value)?;
        Ok(NewJob {
            name: job.get::<_, Text>("name")?.0,
            data: job.get::<_, Text>("data")?.0,
            options: job.get::<_, Text>("options")?.0,
        })
    }
}

impl<'js> FromJs<'js> for Finished {
    fn from_js(ctx: &Ctx<'js>, value: Value<'js>) -> Result<Self> {
        match Text::from_js(ctx, value)?.0.as_str() {
            "completed" => Ok(Finished::Completed),
            "failed" => Ok(Finished::Failed),
            _ => {
                let message = "it is neither `completed` nor `failed`";
                Err(Error::new_from_js_message("string", "state", message))
            }
        }
    }
}

struct Pair(String, String);

impl<'js> FromJs<'js> for Pair {
    fn from_js(ctx: &Ctx<'js>, value: Value<'js>) -> Result<Self> {
        let pair = Array::from_js(ctx, value)?;
        Ok(Pair(pair.get::<Text>(0)?.0, pair.get::<Text>(1)?.0))
    }
}
