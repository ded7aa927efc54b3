// A job that does what its data says: one step for each start, the last one again and again. The twin in Rust is
// `tests/fixtures/scenarios/src/plan.rs`.
import { DelayedError, UnrecoverableError, WaitingChildrenError, WaitingError, Worker } from 'bullmq';

export async function play({ queue, job, token }) {
  const steps = job.data.plan ?? [];
  const step = steps[Math.min(job.attemptsStarted - 1, steps.length - 1)];
  if (!step) throw new UnrecoverableError('plan is empty');
  await takePart(job, step);
  switch (step.do) {
    case 'return':
      return step.value ?? null;
    case 'throw':
      throw new Error(step.message);
    case 'unrecoverable':
      throw new UnrecoverableError(step.message);
    case 'delay':
      await job.moveToDelayed(Date.now() + step.ms, token);
      throw new DelayedError();
    case 'wait':
      await job.moveToWait(token);
      throw new WaitingError();
    case 'limit':
      await queue.rateLimit(step.ms);
      throw Worker.RateLimitError();
    case 'children':
      await addChildren(queue, job, step);
      if (await job.moveToWaitingChildren(token)) throw new WaitingChildrenError();
      return 'no child is pending';
    default:
      throw new UnrecoverableError(`no step is called ${step.do}`);
  }
}

/** What a step does before it ends. */
async function takePart(job, step) {
  if (step.sleep) await new Promise((tick) => setTimeout(tick, step.sleep));
  for (let n = 0; n < (step.logs ?? 0); n += 1) await job.log(`line ${n} of start ${job.attemptsStarted}`);
  if (step.progress != null) await job.updateProgress(step.progress);
  if (step.note != null) await job.updateData({ ...job.data, note: step.note });
}

async function addChildren(queue, job, step) {
  const parent = { id: job.id, queue: job.queueQualifiedName };
  for (const [n, child] of step.children.entries()) {
    await queue.add('plan', child.data, { ...child.opts, parent, jobId: `${job.id}-${job.attemptsStarted}-${n}` });
  }
}
