// The worked examples of BullMQ's documents: their flows, and the tests of those languages in which they print the same.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { eventually } from './harness.mjs';

/** The last one of these children is not due: a parent that fails has something to remove. */
const children = (ids, queueName, data) =>
  ids.map((id, n) => ({
    name: id,
    queueName,
    data: data(id, n),
    opts: { jobId: id, continueParentOnFailure: true, delay: n === 2 ? 3_600_000 : 0, priority: n + 1 },
  }));

export const uploads = (broken) => ({
  name: 'upload-batch',
  queueName: 'uploads',
  data: { batchId: '123' },
  opts: { jobId: 'batch' },
  children: children(['server-1', 'server-2', 'server-3'], 'file-uploads', (server) => ({ server, broken: server === broken })),
});

/** Its second region is broken. */
export const deployment = {
  name: 'deploy-global',
  queueName: 'deployments',
  data: { version: 'v2.0.0' },
  opts: { jobId: 'global' },
  children: children(['us-east-1', 'eu-west-1', 'ap-south-1'], 'deploy-region', (region, n) => ({ region, broken: n === 1 })),
};

const suite = (type, opts, data = {}) => ({
  name: `${type}-tests`,
  queueName: 'test-runner',
  data: { type, ...data },
  opts: { jobId: type, ...opts },
});

/** Its first suite, which is critical, fails; the others are not due. */
export const testSuite = {
  name: 'test-suite',
  queueName: 'test-results',
  data: { suite: 'integration' },
  children: [
    suite('auth', { continueParentOnFailure: true }, { broken: true }),
    suite('api', { delay: 3_600_000 }),
    suite('ui', { delay: 3_600_000 }),
  ],
};

/** What the parent of `testSuite` returns. */
export const testSuiteResult = {
  status: 'failed',
  failedTests: { 'bull:test-runner:auth': 'auth tests failed' },
  message: 'Test suite aborted due to critical failure',
};

/** Waits for what processors print: the host's log is written a moment later. */
async function prints(host, lines) {
  await eventually(`${lines.length} lines are printed`, () => printed(host).length >= lines.length);
  assert.deepEqual(printed(host), lines);
}

/** What a processor printed, in the order of the log. */
const printed = (host) => [...host.log().matchAll(/INFO guest: (.*?) queue=/g)].map(([, line]) => line);

/** Tests of `example(name, queues, body, options)`, which serves one. `first` is the number of the first step. */
export function workedExamples(example, { redis, first }) {
  test('renovate-interior sums up its costs', () =>
    example('renovate-interior', ['renovate', 'steps'], async ({ flow, finished, host }) => {
      const steps = [['paint', 'ceiling'], ['paint', 'walls'], ['fix', 'floor']];
      const children = steps.map(([name, place]) => ({ name, data: { place }, queueName: 'steps' }));
      const { job } = await flow.add({ name: 'renovate-interior', queueName: 'renovate', data: {}, children });
      await finished(job);
      const { processed } = await job.getDependencies();
      assert.deepEqual(Object.values(processed).sort(), [1750, 2500, 2500]);
      await eventually('the last invoice is printed', () => printed(host).at(-1) === 'invoice over 6750');
    }));

  test('upload-batch aborts and cleans up, and succeeds when all do', () =>
    example('upload-batch', ['uploads', 'file-uploads'], async ({ flow, queues, finished, host }) => {
      const { job } = await flow.add(uploads('server-2'));
      await assert.rejects(finished(job), /Upload batch failed/);
      assert.equal(await queues['file-uploads'].getJob('server-3'), undefined, 'what had not begun is gone');
      assert.equal(await (await queues['file-uploads'].getJob('server-1')).getState(), 'completed');
      await prints(host, ['deleted https://server-1.example/server-1']);
      await redis().client.flushall();
      const again = await flow.add(uploads('none'));
      await eventually('two uploads are done', async () => (await queues['file-uploads'].getCompletedCount()) === 2);
      await (await queues['file-uploads'].getJob('server-3')).promote();
      await eventually('the batch is done', async () => (await again.job.getState()) === 'completed');
      assert.deepEqual((await queues.uploads.getJob('batch')).returnvalue, { status: 'success', batchId: '123' });
    }, { concurrency: 1 }));

  test('test-suite stops at a critical failure', () =>
    example('test-suite', ['test-results', 'test-runner'], async ({ flow, queues, finished }) => {
      const { job } = await flow.add(testSuite);
      assert.deepEqual(await finished(job), testSuiteResult);
      assert.equal(await queues['test-runner'].getDelayedCount(), 0);
    }));

  test('deploy-regions rolls back', () =>
    example('deploy-regions', ['deployments', 'deploy-region'], async ({ flow, queues, finished, host }) => {
      const { job } = await flow.add(deployment);
      await assert.rejects(finished(job), /Deployment failed in: bull:deploy-region:eu-west-1/);
      await prints(host, ['rolled back us-east-1']);
      assert.equal(await queues['deploy-region'].getJob('ap-south-1'), undefined);
    }, { concurrency: 1 }));

  test('step-job goes on where it stopped', () =>
    example('step-job', ['queueName'], async ({ queue, run, host }) => {
      await run('job', { step: first });
      await run('job', { step: first + 1 });
      await prints(host, ['initial step', 'second step', 'second step']);
      assert.deepEqual((await queue.getJob('1')).data, { step: first + 2 });
      await assert.rejects(run('job', { step: 7 }), /invalid step/);
    }));

  test('durable-step-job runs each step once', () =>
    example('durable-step-job', ['queueName'], async ({ run, host }) => {
      await run('job');
      await prints(host, ['initial step', 'second step']);
    }));

  for (const name of ['delayed-step-job', 'durable-delayed-step-job']) {
    test(`${name} rests without spending an attempt`, () =>
      example(name, ['queueName'], async ({ queue, finished, host }) => {
        const job = await queue.add('job', { step: first });
        await finished(job);
        const { attemptsMade, attemptsStarted } = await queue.getJob(job.id);
        assert.deepEqual([attemptsMade, attemptsStarted], [1, 2]);
        await prints(host, ['initial step', 'second step']);
      }));
  }

  for (const name of ['step-job-with-children', 'durable-step-job-with-children']) {
    test(`${name} waits for children that it added`, () =>
      example(name, ['parentQueueName', 'childrenQueueName'], async ({ queue, finished }) => {
        const job = await queue.add('job', { step: first });
        assert.equal(await finished(job), first + 3);
        const { processed } = await (await queue.getJob(job.id)).getDependencies();
        const made = Object.values(processed).sort((a, b) => (a.made < b.made ? -1 : 1));
        assert.deepEqual(made, [{ made: 'child-1' }, { made: 'child-2' }]);
      }));
  }

  for (const name of ['chained-flow', 'durable-chained-flow']) {
    test(`${name} waits for a flow that it added`, () =>
      example(name, ['parentQueueName', 'childrenQueueName', 'grandchildrenQueueName'], async ({ queue, finished }) => {
        const job = await queue.add('job', { step: first });
        assert.equal(await finished(job), first + 3);
        const { processed } = await (await queue.getJob(job.id)).getDependencies();
        const [values] = Object.values(processed);
        assert.deepEqual(values.sort((a, b) => a.idx - b.idx), [{ idx: 0, foo: 'bar' }, { idx: 1, foo: 'baz' }]);
      }));
  }
}
