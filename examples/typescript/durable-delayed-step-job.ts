// `delayed-step-job.ts` with durable steps: the job rests between them, and while it rests it holds no worker.
import { Worker } from 'bullmq';

const connection = {};

const doInitialStepStuff = async () => console.log('initial step');
const doSecondStepStuff = async () => console.log('second step');

// ---------------------------------------------------------------------------------------------------------------------

const worker = new Worker(
  'queueName',
  async job => {
    await job.step('initial', doInitialStepStuff);
    await job.sleep('rest', 200);
    await job.step('second', doSecondStepStuff);
  },
  { connection },
);
