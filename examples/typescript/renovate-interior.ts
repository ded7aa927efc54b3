// The costs of a renovation: each step is a child that returns its price, the parent sums them up.
import { Worker } from 'bullmq';

const performStep = async (data: { place: string }) => console.log(`working on the ${data.place}`);
const sendInvoice = async (totalCosts: number) => console.log(`invoice over ${totalCosts}`);

// ---------------------------------------------------------------------------------------------------------------------

const stepsWorker = new Worker('steps', async job => {
  await performStep(job.data);

  if (job.name === 'paint') {
    return 2500;
  } else if (job.name === 'fix') {
    return 1750;
  }
});

const renovateWorker = new Worker('renovate', async job => {
  const childrenValues = await job.getChildrenValues();

  const totalCosts = Object.values(childrenValues).reduce(
    (prev, cur) => prev + cur,
    0,
  );

  await sendInvoice(totalCosts);
});
