//! Generated from `wit/`. Only what waits for the backend is async.
#![allow(
    missing_docs,
    unreachable_pub,
    reason = "generated; documented in wit/"
)]

/// The guest's handle of its job. A store has one job, so the handle says nothing.
pub struct JobHandle;

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "processor",
    imports: {
        "toril:processor/jobs.[method]job.update-data": async | trappable,
        "toril:processor/jobs.[method]job.update-progress": async | trappable,
        "toril:processor/jobs.[method]job.log": async | trappable,
        "toril:processor/jobs.[method]job.move-to-delayed": async | trappable,
        "toril:processor/jobs.[method]job.move-to-waiting-children": async | trappable,
        "toril:processor/jobs.[method]job.move-to-wait": async | trappable,
        "toril:processor/jobs.[method]job.children-values": async | trappable,
        "toril:processor/jobs.[method]job.failed-children-values": async | trappable,
        "toril:processor/jobs.[method]job.dependencies": async | trappable,
        "toril:processor/jobs.[method]job.dependencies-count": async | trappable,
        "toril:processor/jobs.[method]job.remove-unprocessed-children": async | trappable,
        "toril:processor/jobs.[method]job.remove-child-dependency": async | trappable,
        "toril:processor/producer.add": async | trappable,
        "toril:processor/producer.add-bulk": async | trappable,
        "toril:processor/producer.add-flows": async | trappable,
        "toril:processor/producer.get-flow": async | trappable,
        "toril:processor/producer.state": async | trappable,
        "toril:processor/producer.remove": async | trappable,
        "toril:processor/queues.change-delay": async | trappable,
        "toril:processor/queues.change-priority": async | trappable,
        "toril:processor/queues.promote": async | trappable,
        "toril:processor/queues.retry": async | trappable,
        "toril:processor/queues.counts": async | trappable,
        "toril:processor/queues.remove-deduplication-key": async | trappable,
        "toril:processor/queues.rate-limit": async | trappable,
        "toril:processor/queues.publish-event": async | trappable,
        "toril:processor/schedulers.upsert": async | trappable,
        "toril:processor/schedulers.remove": async | trappable,
        "toril:processor/schedulers.get": async | trappable,
        "toril:processor/schedulers.list": async | trappable,
        "toril:processor/steps.finish": async | trappable,
        "toril:processor/steps.sleep": async | trappable,
        "toril:processor/steps.call": async | trappable,
        "toril:processor/steps.set-cursor": async | trappable,
        default: trappable,
    },
    exports: { default: async },
    with: { "toril:processor/jobs.job": crate::bindings::JobHandle },
});

/// The guest's handle of a key-value store.
pub struct Bucket(pub(crate) crate::backend::KvStore);

/// The guest's handle of a value that it has read in order to replace it.
pub struct Cas {
    pub(crate) store: crate::backend::KvStore,
    pub(crate) key: String,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) version: u64,
}

/// `wasi:keyvalue`, from the sandbox's own WIT.
pub mod keyvalue {
    wasmtime::component::bindgen!({
        path: "wit",
        world: "wasi:keyvalue/imports",
        imports: {
            "wasi:keyvalue/store.[method]bucket.get": async | trappable,
            "wasi:keyvalue/store.[method]bucket.set": async | trappable,
            "wasi:keyvalue/store.[method]bucket.delete": async | trappable,
            "wasi:keyvalue/store.[method]bucket.exists": async | trappable,
            "wasi:keyvalue/store.[method]bucket.list-keys": async | trappable,
            "wasi:keyvalue/atomics.increment": async | trappable,
            "wasi:keyvalue/atomics.swap": async | trappable,
            "wasi:keyvalue/atomics.[static]cas.new": async | trappable,
            "wasi:keyvalue/batch.get-many": async | trappable,
            "wasi:keyvalue/batch.set-many": async | trappable,
            "wasi:keyvalue/batch.delete-many": async | trappable,
            default: trappable,
        },
        with: {
            "wasi:keyvalue/store.bucket": crate::bindings::Bucket,
            "wasi:keyvalue/atomics.cas": crate::bindings::Cas,
        },
    });
}

/// Postgres, in a package of its own.
pub mod postgres {
    wasmtime::component::bindgen!({
        path: "../../wit/postgres",
        world: "imports",
        additional_derives: [serde::Serialize, serde::Deserialize],
        imports: {
            "toril:postgres/client.[method]connection.query": async | trappable,
            "toril:postgres/client.[method]connection.execute": async | trappable,
            "toril:postgres/client.[method]transaction.query": async | trappable,
            "toril:postgres/client.[method]transaction.execute": async | trappable,
            "toril:postgres/client.[method]transaction.commit": async | trappable,
            "toril:postgres/client.[method]transaction.rollback": async | trappable,
            default: trappable,
        },
        with: {
            "toril:postgres/client.connection": crate::guest::ConnectionHandle,
            "toril:postgres/client.transaction": crate::guest::TransactionHandle,
        },
    });
}

/// The world whose job stands free. Only `current-job` is its own: all else it has in common with the other one.
pub mod plain {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "plain-processor",
        imports: {
            "toril:processor/current-job.update-data": async | trappable,
            "toril:processor/current-job.update-progress": async | trappable,
            "toril:processor/current-job.log": async | trappable,
            "toril:processor/current-job.move-to-delayed": async | trappable,
            "toril:processor/current-job.move-to-waiting-children": async | trappable,
            "toril:processor/current-job.move-to-wait": async | trappable,
            "toril:processor/current-job.children-values": async | trappable,
            "toril:processor/current-job.failed-children-values": async | trappable,
            "toril:processor/current-job.dependencies": async | trappable,
            "toril:processor/current-job.dependencies-count": async | trappable,
            "toril:processor/current-job.remove-unprocessed-children": async | trappable,
            "toril:processor/current-job.remove-child-dependency": async | trappable,
            default: trappable,
        },
        exports: { default: async },
        with: {
            "toril:processor/jobs": crate::bindings::toril::processor::jobs,
            "toril:processor/producer": crate::bindings::toril::processor::producer,
            "toril:processor/queues": crate::bindings::toril::processor::queues,
            "toril:processor/schedulers": crate::bindings::toril::processor::schedulers,
            "toril:processor/steps": crate::bindings::toril::processor::steps,
            "toril:processor/logging": crate::bindings::toril::processor::logging,
        },
    });
}
