// What the jobs of the scenarios do, by name: for Node's worker, and as a processor in our host (processors/twin.ts). The twin
// in Rust is `tests/fixtures/scenarios`.
import { DelayedError, UnrecoverableError, WaitingChildrenError, WaitingError, Worker } from 'bullmq';
import { play } from './plan.mjs';

const sorted = (map) => Object.fromEntries(Object.entries(map).sort(([a], [b]) => (a < b ? -1 : 1)));
const parentOf = (job) => ({ id: job.id, queue: job.queueQualifiedName });

/** It needs a queue and a flow producer of its own, on the queue of its jobs. */
export const twin = ({ queue, flow }) => async (job, token) => {
  const firstAttempt = job.attemptsMade === 0;
  const firstStart = job.attemptsStarted === 1;
  // Many copies of one scenario stand in one queue.
  const own = (name) => `${name}-of-${job.id}`;
  switch (job.name) {
    case 'plan':
      return play({ queue, job, token });
    case 'return':
      return job.data;
    case 'nothing':
      return null;
    case 'fail':
      throw new Error('on purpose');
    case 'fail-once':
      if (firstAttempt) throw new Error('only once');
      return 'recovered';
    case 'unrecoverable':
      throw new UnrecoverableError('for good');
    case 'progress':
      await job.updateProgress(50);
      await job.updateProgress({ done: true });
      return 'done';
    case 'log':
      for (const line of ['one', 'two', 'three']) await job.log(line);
      return 'logged';
    case 'update-data':
      await job.updateData({ step: 'second' });
      return job.data;
    case 'step-and-fail':
      if (!firstAttempt) return job.data;
      await job.updateData({ step: 'second' });
      throw new Error('after the first step');
    case 'delay-once':
      if (!firstStart) return job.data;
      await job.moveToDelayed(Date.now() + 50, token);
      await job.updateData({ step: 'second' });
      throw new DelayedError();
    case 'update-then-delay':
      if (!firstStart) return job.data;
      await job.updateData({ step: 'second' });
      await job.moveToDelayed(Date.now() + 50, token);
      throw new DelayedError();
    case 'limit-once':
      if (!firstStart) return 'let through';
      await queue.rateLimit(60);
      throw Worker.RateLimitError();
    case 'wait-for-failed-child':
      await queue.add('fail', {}, { parent: parentOf(job), jobId: own('doomed'), failParentOnFailure: true });
      while ((await queue.getJobState(own('doomed'))) !== 'failed') await new Promise((tick) => setTimeout(tick, 2));
      if (await job.moveToWaitingChildren(token)) throw new WaitingChildrenError();
      throw new Error('the child did not fail');
    case 'wait-once':
      if (!firstStart) return 'came back';
      await job.moveToWait(token);
      throw new WaitingError();
    case 'wait-for-children':
      if (await job.moveToWaitingChildren(token)) throw new WaitingChildrenError();
      return 'no child is pending';
    case 'children-values':
      return sorted(await job.getChildrenValues());
    case 'failed-children-values':
      return sorted(await job.getFailedChildrenValues());
    case 'dependencies': {
      const page = { cursor: 0, count: 50 };
      const found = await job.getDependencies({ processed: page, unprocessed: page, ignored: page, failed: page });
      const { processed, unprocessed, ignored, failed } = found;
      const counts = await job.getDependenciesCount();
      return sorted({ processed: sorted(processed), unprocessed, ignored: sorted(ignored), failed, counts: sorted(counts) });
    }
    case 'clean-up': {
      const failed = await job.getFailedChildrenValues();
      await job.removeUnprocessedChildren();
      return { failed, values: sorted(await job.getChildrenValues()) };
    }
    case 'leave-the-parent':
      return await job.removeChildDependency();
    case 'add-children':
      if (!firstStart) return sorted(await job.getChildrenValues());
      for (let n = 0; n < 2; n += 1) {
        await queue.add('return', { n }, { parent: parentOf(job), jobId: own(`added-${n}`) });
      }
      if (await job.moveToWaitingChildren(token)) throw new WaitingChildrenError();
      throw new Error('children were not pending');
    case 'wait-for-one-child':
      if (!firstStart) return sorted(await job.getChildrenValues());
      await queue.add('return', {}, { parent: parentOf(job), jobId: own('only') });
      if (await job.moveToWaitingChildren(token, { child: { id: own('only'), queue: job.queueQualifiedName } })) {
        throw new WaitingChildrenError();
      }
      throw new Error('the child was not pending');
    case 'return-with-pending-child':
      await queue.add('return', {}, { parent: parentOf(job), jobId: own('pending'), delay: 1000 });
      return 'too early';
    case 'add-flow': {
      if (!firstStart) return sorted(await job.getChildrenValues());
      const queueName = job.queueName;
      const leaf = (n) => ({ name: 'return', queueName, data: { n }, opts: { jobId: own(`leaf-${n}`) } });
      await flow.add({
        name: 'children-values',
        queueName,
        data: {},
        opts: { jobId: own('branch'), parent: parentOf(job) },
        children: [leaf(0), leaf(1)],
      });
      if (await job.moveToWaitingChildren(token)) throw new WaitingChildrenError();
      throw new Error('the flow was not pending');
    }
    case 'add-its-successor':
      for (const n of [1, 2]) await queue.add('return', { n }, { deduplication: { id: job.data.deduplication, keepLastIfActive: true } });
      return 'done';
    case 'fields':
      return {
        attemptsMade: job.attemptsMade,
        attemptsStarted: job.attemptsStarted,
        data: job.data,
        delay: job.delay,
        id: job.id,
        name: job.name,
        opts: job.opts,
        parent: job.parent ?? null,
        parentKey: job.parentKey ?? null,
        priority: job.priority,
        progress: job.progress,
        queue: job.queueName,
        queueQualifiedName: job.queueQualifiedName,
        repeatJobKey: job.repeatJobKey ?? null,
        stalledCounter: job.stalledCounter,
        timestamp: job.timestamp,
      };
    default:
      throw new UnrecoverableError(`no scenario is called ${job.name}`);
  }
};
