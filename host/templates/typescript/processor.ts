import { type Job, UnrecoverableError } from 'bullmq';

interface Paint {
  walls: number;
}

export default async function (job: Job<Paint>) {
  const { walls } = job.data;
  // No further attempt can help.
  if (!(walls > 0)) throw new UnrecoverableError('there are no walls to paint');
  await job.log(`painting ${walls} walls`);
  return { cost: walls * 100 };
}
