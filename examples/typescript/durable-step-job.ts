// `step-job.ts` with durable steps: the host keeps what is done, so that a retry resumes where it failed.
import { Worker } from 'bullmq';

const connection = {};

const doInitialStepStuff = async () => console.log('initial step');
const doSecondStepStuff = async () => console.log('second step');

// ---------------------------------------------------------------------------------------------------------------------

const FINISH = 2;

const worker = new Worker(
  'queueName',
  async job => {
    await job.step('initial', doInitialStepStuff);
    await job.step('second', doSecondStepStuff);
    return FINISH;
  },
  { connection },
);
