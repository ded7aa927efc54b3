// `chained-flow.ts` with durable steps: a job that adds a whole flow while it runs, and waits for it.
import { Worker as ChildrenWorker } from 'bullmq';

const connection = {};
const name = 'grandchild-job';
const queueName = 'grandchildrenQueueName';

new ChildrenWorker('childrenQueueName', async job => Object.values(await job.getChildrenValues()), { connection });
new ChildrenWorker('grandchildrenQueueName', async job => job.data, { connection });

const doInitialStepStuff = async () => console.log('initial step');
const doSecondStepStuff = async () => console.log('second step');

// ---------------------------------------------------------------------------------------------------------------------

import { FlowProducer, WaitingChildrenError, Worker } from 'bullmq';

const FINISH = 3;

const flow = new FlowProducer({ connection });
const worker = new Worker(
  'parentQueueName',
  async (job, token) => {
    await job.step('initial', doInitialStepStuff);
    await job.step('flow', async () => {
      // The ids are the same in each attempt: if this step runs twice, it adds nothing twice.
      const opts = { jobId: `${job.id}-child`, parent: { id: job.id, queue: job.queueQualifiedName } };
      const children = [{ idx: 0, foo: 'bar' }, { idx: 1, foo: 'baz' }].map(data => (
        { name, queueName, data, opts: { jobId: `${job.id}-${data.idx}` } }
      ));
      await flow.add({ name: 'child-job', queueName: 'childrenQueueName', data: {}, children, opts });
    });
    await job.step('second', doSecondStepStuff);
    if (await job.moveToWaitingChildren(token)) throw new WaitingChildrenError();
    return FINISH;
  },
  { connection },
);
