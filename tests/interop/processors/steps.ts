// One job with each kind of durable step. Its first attempt fails beside a step, in a loop; the job that it calls fails, too.
import { type Job, WaitingChildrenError } from 'bullmq';

async function copy(job: Job, rows: string[]) {
  const cursor = await job.cursor<number>('rows');
  for (let at = cursor.value ?? 0; at < rows.length; at += 1) {
    if (rows[at] === 'broken' && job.attemptsMade === 0) throw new Error('a row is broken');
    await job.log(rows[at]);
    await cursor.set(at + 1);
  }
}

async function reasonOf(called: Promise<unknown>) {
  try {
    return await called;
  } catch (error) {
    if (error instanceof WaitingChildrenError) throw error;
    return (error as Error).message;
  }
}

export default async function (job: Job<{ rows: string[] }>) {
  if (job.name === 'works') return 'shipped';
  if (job.name === 'fails') throw new Error('no ship today');
  const [first, second] = await Promise.all([
    job.step('first', async () => { await job.log('first'); return { at: new Date(0) }; }),
    job.step('second', () => { job.log('second'); }),
  ]);
  await copy(job, job.data.rows);
  await job.sleep('rest', 50);
  const called = await job.call<string>('works', { queue: 'ring', name: 'works' });
  const reason = await reasonOf(job.call('fails', { queue: 'ring', name: 'fails' }));
  return { first, second, called, reason };
}
