// What stands in for `bullmq` where it is required: names that are not available throw when they are used, since nothing can
// tell while it is built whether they are.
import { missing } from './missing.js';

export * from './index.js';

const refusedClass = (name, instead) =>
  class {
    constructor() {
      throw missing(name, instead);
    }
  };
export const QueueEvents = refusedClass(
  'QueueEvents',
  'a processor hears no events; listen in a service of your own, publish with `QueueEventsProducer`',
);
