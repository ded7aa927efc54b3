// `step-job-with-children.ts` with durable steps: each child is a call, and the job waits for it before it goes on.
import { Worker } from 'bullmq';

const connection = {};

new Worker('childrenQueueName', async job => ({ made: job.name }), { connection });

const doInitialStepStuff = async () => console.log('initial step');
const doSecondStepStuff = async () => console.log('second step');

// ---------------------------------------------------------------------------------------------------------------------

const FINISH = 3;

const worker = new Worker(
  'parentQueueName',
  async job => {
    await job.step('initial', doInitialStepStuff);
    await job.call('first child', { queue: 'childrenQueueName', name: 'child-1', data: { foo: 'bar' } });
    await job.step('second', doSecondStepStuff);
    await job.call('second child', { queue: 'childrenQueueName', name: 'child-2', data: { foo: 'bar' } });
    return FINISH;
  },
  { connection },
);
