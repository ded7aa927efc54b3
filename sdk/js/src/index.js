// What stands in for `bullmq` in a bundle.
export { Job } from './job.js';
export { Queue, QueueEventsProducer } from './queue.js';
export { FlowProducer } from './flow-producer.js';
export { Worker } from './worker.js';
export {
  DELAYED_ERROR,
  DelayedError,
  RATE_LIMIT_ERROR,
  RateLimitError,
  UNRECOVERABLE_ERROR,
  UnrecoverableError,
  WAITING_CHILDREN_ERROR,
  WAITING_ERROR,
  WaitingChildrenError,
  WaitingError,
} from './errors.js';
export { MetricsTime, PRIORITY_LIMIT } from './constants.js';
