// The worked examples of BullMQ's documents: flows from Node, processors from `examples/rust/`.
import { after, before, beforeEach, test } from 'node:test';
import assert from 'node:assert/strict';
import { eventually, processor, served as servedWith, startRedis } from './harness.mjs';
import { deployment, testSuite, testSuiteResult, uploads } from './worked-examples.mjs';

let redis;
before(async () => {
  redis = await startRedis();
});
after(() => redis.stop());
beforeEach(() => redis.client.flushall());

/** Serves an example on some queues while `body` runs; one job at a time where the order matters. */
const served = (example, names, body, options = {}) =>
  servedWith(redis, { processor: processor(example), grants: { queues: ['*'] }, ...options }, names, body);

test('renovate-interior sums up its costs', () =>
  served('renovate-interior', ['renovate', 'steps'], async ({ flow, finished }) => {
    const steps = [['paint', 'ceiling', 100], ['paint', 'walls', 200], ['fix', 'floor', 300]];
    const { job } = await flow.add({
      name: 'renovate-interior',
      queueName: 'renovate',
      data: {},
      children: steps.map(([name, place, price]) => ({ name, data: { place, price }, queueName: 'steps' })),
    });
    assert.equal(await finished(job), 600);
  }));

test('assembly-line builds from the chassis on', () =>
  served('assembly-line', ['assembly-line'], async ({ flow, finished }) => {
    const chain = ['engine', 'wheels', 'chassis'].reduceRight(
      (child, step) => ({ name: 'car', queueName: 'assembly-line', data: { step }, children: child && [child] }),
      undefined,
    );
    const { job } = await flow.add(chain);
    assert.deepEqual(await finished(job), ['chassis', 'wheels', 'engine']);
  }));

test('upload-batch aborts and cleans up', () =>
  served('upload-batch', ['uploads', 'file-uploads'], async ({ flow, queues, finished }) => {
    const { job } = await flow.add(uploads('server-2'));
    await assert.rejects(finished(job), /Upload batch failed/);
    assert.equal(await queues['file-uploads'].getJob('server-3'), undefined, 'what had not begun is gone');
    assert.equal(await (await queues['file-uploads'].getJob('server-1')).getState(), 'completed');
    const { logs } = await queues.uploads.getJobLogs('batch');
    assert.deepEqual(logs, ['cancelled 1 uploads', 'deleted https://server-1.example/server-1']);
  }, { concurrency: 1 }));

test('upload-batch succeeds when all do', () =>
  served('upload-batch', ['uploads', 'file-uploads'], async ({ flow, queues, finished }) => {
    const { job } = await flow.add(uploads('none'));
    await eventually('two uploads are done', async () => (await queues['file-uploads'].getCompletedCount()) === 2);
    await (await queues['file-uploads'].getJob('server-3')).promote();
    assert.deepEqual(await finished(job), { status: 'success', batchId: '123' });
  }));

test('test-suite stops at a critical failure', () =>
  served('test-suite', ['test-results', 'test-runner'], async ({ flow, queues, finished }) => {
    const { job } = await flow.add(testSuite);
    assert.deepEqual(await finished(job), testSuiteResult);
    assert.equal(await queues['test-runner'].getDelayedCount(), 0);
  }));

test('deploy-regions rolls back', () =>
  served('deploy-regions', ['deployments', 'deploy-region'], async ({ flow, queues, finished }) => {
    const { job } = await flow.add(deployment);
    await assert.rejects(finished(job), /Deployment failed in: bull:deploy-region:eu-west-1/);
    const { logs } = await queues.deployments.getJobLogs('global');
    assert.deepEqual(logs, ['rolled back us-east-1']);
    assert.equal(await queues['deploy-region'].getJob('ap-south-1'), undefined);
  }, { concurrency: 1 }));

test('step-job refuses a step that it does not know', () =>
  served('step-job', ['steps'], async ({ queues, finished }) => {
    const unknown = await queues.steps.add('job', { step: 'third' });
    await assert.rejects(finished(unknown), /invalid step/);
  }));

test('durable-step-job keeps its steps when Node retries it', () =>
  served('durable-step-job', ['steps'], async ({ queues, finished }) => {
    const job = await queues.steps.add('job', { failIn: 'second' });
    await assert.rejects(finished(job), /this step fails once/);
    await job.retry();
    // A second wait for its events may find the failure before.
    await eventually('it completes', async () => (await job.getState()) === 'completed');
    assert.equal((await queues.steps.getJob(job.id)).returnvalue, 'finish');
    assert.deepEqual((await queues.steps.getJobLogs(job.id)).logs, ['initial step', 'second step']);
    await job.remove();
    assert.deepEqual(await redis.client.keys(`bull:steps:${job.id}*`), []);
  }));

// Each job in steps is there twice: with a switch, and with durable steps.
for (const kind of ['', 'durable-']) {
  test(`${kind}step-job resumes at the step that failed`, () =>
    served(`${kind}step-job`, ['steps'], async ({ queues, finished }) => {
      const job = await queues.steps.add('job', { step: 'initial', failIn: 'second' }, { attempts: 2 });
      assert.equal(await finished(job), 'finish');
      assert.deepEqual((await queues.steps.getJobLogs(job.id)).logs, ['initial step', 'second step']);
    }));

  test(`${kind}delayed-step-job rests without spending an attempt`, () =>
    served(`${kind}delayed-step-job`, ['steps'], async ({ queues, finished }) => {
      const job = await queues.steps.add('job', { restMs: 50 });
      assert.equal(await finished(job), 'finish');
      const { attemptsMade, attemptsStarted } = await queues.steps.getJob(job.id);
      assert.deepEqual([attemptsMade, attemptsStarted], [1, 2]);
    }));

  test(`${kind}step-job-with-children waits for children that it added`, () =>
    served(`${kind}step-job-with-children`, ['builds', 'parts'], async ({ queues, finished }) => {
      const job = await queues.builds.add('job', {});
      assert.deepEqual(await finished(job), {
        parts: {
          [`bull:parts:builds-${job.id}-child-1`]: { made: 'child-1' },
          [`bull:parts:builds-${job.id}-child-2`]: { made: 'child-2' },
        },
      });
    }));

  test(`${kind}chained-flow waits for a flow that it added`, () =>
    served(`${kind}chained-flow`, ['parents', 'children', 'grandchildren'], async ({ queues, finished }) => {
      const job = await queues.parents.add('job', {});
      const result = await finished(job);
      const [[key, values]] = Object.entries(result);
      assert.equal(key, `bull:children:parents-${job.id}-child`);
      assert.deepEqual(values.sort((a, b) => a.idx - b.idx), [{ idx: 0, foo: 'bar' }, { idx: 1, foo: 'baz' }]);
    }));
}
