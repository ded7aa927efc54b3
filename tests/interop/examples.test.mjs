// The worked examples of BullMQ's documents: flows from Node, processors from `examples/rust/`.
import { after, before, beforeEach, test } from 'node:test';
import assert from 'node:assert/strict';
import { FlowProducer, Queue, QueueEvents } from 'bullmq';
import { eventually, processor, startRedis, startToril } from './harness.mjs';

let redis;
let flow;
before(async () => {
  redis = await startRedis();
});
after(() => redis.stop());
beforeEach(() => redis.client.flushall());

/** Serves an example on some queues while `body` runs; one job at a time where the order matters. */
async function served(example, names, body, options = {}) {
  const section = { processor: processor(example), grants: { queues: ['*'] }, ...options };
  const host = await startToril(redis, Object.fromEntries(names.map((name) => [name, section])));
  const connection = redis.connection;
  const queues = Object.fromEntries(names.map((name) => [name, new Queue(name, { connection })]));
  // From the first event on: a listener that starts now may miss what happens before it listens.
  const events = new QueueEvents(names[0], { connection, lastEventId: '0' });
  flow = new FlowProducer({ connection });
  try {
    await events.waitUntilReady();
    return await body({ queues, events, finished: (job) => job.waitUntilFinished(events, 10_000) });
  } catch (error) {
    error.message += `\nlog of the host:\n${host.log()}`;
    throw error;
  } finally {
    await Promise.all([host.stop(), flow.close(), events.close(), ...Object.values(queues).map((queue) => queue.close())]);
  }
}

test('renovate-interior sums up its costs', () =>
  served('renovate-interior', ['renovate', 'steps'], async ({ finished }) => {
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
  served('assembly-line', ['assembly-line'], async ({ finished }) => {
    const chain = ['engine', 'wheels', 'chassis'].reduceRight(
      (child, step) => ({ name: 'car', queueName: 'assembly-line', data: { step }, children: child && [child] }),
      undefined,
    );
    const { job } = await flow.add(chain);
    assert.deepEqual(await finished(job), ['chassis', 'wheels', 'engine']);
  }));

const uploads = (broken) => ({
  name: 'upload-batch',
  queueName: 'uploads',
  data: { batchId: '123' },
  opts: { jobId: 'batch' },
  children: ['server-1', 'server-2', 'server-3'].map((server, n) => ({
    name: `upload-to-${server}`,
    queueName: 'file-uploads',
    data: { server, broken: server === broken },
    opts: { jobId: server, continueParentOnFailure: true, delay: n === 2 ? 3_600_000 : 0, priority: n + 1 },
  })),
});

test('upload-batch aborts and cleans up', () =>
  served('upload-batch', ['uploads', 'file-uploads'], async ({ queues, finished }) => {
    const { job } = await flow.add(uploads('server-2'));
    await assert.rejects(finished(job), /Upload batch failed/);
    assert.equal(await queues['file-uploads'].getJob('server-3'), undefined, 'what had not begun is gone');
    assert.equal(await (await queues['file-uploads'].getJob('server-1')).getState(), 'completed');
    const { logs } = await queues.uploads.getJobLogs('batch');
    assert.deepEqual(logs, ['cancelled 1 uploads', 'deleted https://server-1.example/server-1']);
  }, { concurrency: 1 }));

test('upload-batch succeeds when all do', () =>
  served('upload-batch', ['uploads', 'file-uploads'], async ({ queues, finished }) => {
    const { job } = await flow.add(uploads('none'));
    await eventually('two uploads are done', async () => (await queues['file-uploads'].getCompletedCount()) === 2);
    await (await queues['file-uploads'].getJob('server-3')).promote();
    assert.deepEqual(await finished(job), { status: 'success', batchId: '123' });
  }));

test('test-suite stops at a critical failure', () =>
  served('test-suite', ['test-results', 'test-runner'], async ({ queues, finished }) => {
    const test = (type, opts, data = {}) => ({
      name: `${type}-tests`,
      queueName: 'test-runner',
      data: { type, ...data },
      opts: { jobId: type, ...opts },
    });
    const { job } = await flow.add({
      name: 'test-suite',
      queueName: 'test-results',
      data: { suite: 'integration' },
      children: [
        test('auth', { continueParentOnFailure: true }, { broken: true }),
        test('api', { delay: 3_600_000 }),
        test('ui', { delay: 3_600_000 }),
      ],
    });
    assert.deepEqual(await finished(job), {
      status: 'failed',
      failedTests: { 'bull:test-runner:auth': 'auth tests failed' },
      message: 'Test suite aborted due to critical failure',
    });
    assert.equal(await queues['test-runner'].getDelayedCount(), 0);
  }));

test('deploy-regions rolls back', () =>
  served('deploy-regions', ['deployments', 'deploy-region'], async ({ queues, finished }) => {
    const regions = ['us-east-1', 'eu-west-1', 'ap-south-1'];
    const { job } = await flow.add({
      name: 'deploy-global',
      queueName: 'deployments',
      data: { version: 'v2.0.0' },
      opts: { jobId: 'global' },
      children: regions.map((region, n) => ({
        name: `deploy-${region}`,
        queueName: 'deploy-region',
        data: { region, broken: n === 1 },
        opts: { jobId: region, continueParentOnFailure: true, delay: n === 2 ? 3_600_000 : 0, priority: n + 1 },
      })),
    });
    await assert.rejects(finished(job), /Deployment failed in: bull:deploy-region:eu-west-1/);
    const { logs } = await queues.deployments.getJobLogs('global');
    assert.deepEqual(logs, ['rolled back us-east-1']);
    assert.equal(await queues['deploy-region'].getJob('ap-south-1'), undefined);
  }, { concurrency: 1 }));

test('step-job resumes at the step that failed', () =>
  served('step-job', ['steps'], async ({ queues, finished }) => {
    const job = await queues.steps.add('job', { step: 'initial', failIn: 'second' }, { attempts: 2 });
    assert.equal(await finished(job), 'finish');
    assert.deepEqual((await queues.steps.getJobLogs(job.id)).logs, ['initial step', 'second step']);
    const unknown = await queues.steps.add('job', { step: 'third' });
    await assert.rejects(finished(unknown), /invalid step/);
  }));

test('delayed-step-job rests without spending an attempt', () =>
  served('delayed-step-job', ['steps'], async ({ queues, finished }) => {
    const job = await queues.steps.add('job', { restMs: 50 });
    assert.equal(await finished(job), 'finish');
    const { attemptsMade, attemptsStarted } = await queues.steps.getJob(job.id);
    assert.deepEqual([attemptsMade, attemptsStarted], [1, 2]);
  }));

test('step-job-with-children waits for children that it added', () =>
  served('step-job-with-children', ['builds', 'parts'], async ({ queues, finished }) => {
    const job = await queues.builds.add('job', {});
    assert.deepEqual(await finished(job), {
      parts: {
        [`bull:parts:builds-${job.id}-child-1`]: { made: 'child-1' },
        [`bull:parts:builds-${job.id}-child-2`]: { made: 'child-2' },
      },
    });
  }));

test('chained-flow waits for a flow that it added', () =>
  served('chained-flow', ['parents', 'children', 'grandchildren'], async ({ queues, finished }) => {
    const job = await queues.parents.add('job', {});
    const result = await finished(job);
    const [[key, values]] = Object.entries(result);
    assert.equal(key, `bull:children:parents-${job.id}-child`);
    assert.deepEqual(values.sort((a, b) => a.idx - b.idx), [{ idx: 0, foo: 'bar' }, { idx: 1, foo: 'baz' }]);
  }));
