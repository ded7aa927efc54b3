import { UnrecoverableError } from 'bullmq';

/** @param {import('@toril/sdk').Job<{ walls: number }>} job */
export default async function (job) {
  const { walls } = job.data;
  // No further attempt can help.
  if (!(walls > 0)) throw new UnrecoverableError('there are no walls to paint');
  await job.log(`painting ${walls} walls`);
  return { cost: walls * 100 };
}
