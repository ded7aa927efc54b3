// What BullMQ has and a processor cannot have: why, and what to do.

const EVENTS = 'a processor hears no events; listen in a service of your own, publish with `QueueEventsProducer`';
const CONNECTION = 'the host holds the connection to Redis';
const SANDBOX = 'the host runs processors, each in a sandbox of its own';
const SCHEDULERS = 'use `upsertJobScheduler` and `removeJobScheduler` of a `Queue`';

export const BULLMQ_REFUSED = {
  QueueEvents: EVENTS,
  QueueGetters: 'use `Queue`',
  QueueBase: 'use `Queue`',
  QueueKeys: CONNECTION,
  RedisConnection: CONNECTION,
  RedisQueueBackend: CONNECTION,
  Scripts: CONNECTION,
  Backoffs: 'the host computes when a job is tried again, from its option `backoff`',
  Child: SANDBOX,
  ChildPool: SANDBOX,
  ChildProcessor: SANDBOX,
  Repeat: SCHEDULERS,
  JobScheduler: SCHEDULERS,
  FlowProducerPro: 'flows are added with `FlowProducer`',
};
