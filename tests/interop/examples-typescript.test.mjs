// The worked examples of BullMQ's documents in TypeScript: flows from Node, processors from `examples/typescript/`.
import { after, before, beforeEach, test } from 'node:test';
import assert from 'node:assert/strict';
import { FlowProducer, Queue, QueueEvents } from 'bullmq';
import { eventually, startRedis, startToril } from './harness.mjs';

const example = (name) => new URL(`../../examples/typescript/${name}.ts`, import.meta.url).pathname;
let redis;
let flow;
before(async () => {
  redis = await startRedis();
});
after(() => redis.stop());
beforeEach(() => redis.client.flushall());

async function served(name, names, body, options = {}) {
  const section = { processor: example(name), grants: { queues: ['*'] }, ...options };
  const host = await startToril(redis, Object.fromEntries(names.map((queue) => [queue, section])));
  const connection = redis.connection;
  const queues = Object.fromEntries(names.map((queue) => [queue, new Queue(queue, { connection })]));
  const events = new QueueEvents(names[0], { connection, lastEventId: '0' });
  flow = new FlowProducer({ connection });
  try {
    await events.waitUntilReady();
    return await body({ queues, host, finished: (job) => job.waitUntilFinished(events, 10_000) });
  } catch (error) {
    error.message += `\nlog of the host:\n${host.log()}`;
    throw error;
  } finally {
    await Promise.all([host.stop(), flow.close(), events.close(), ...Object.values(queues).map((queue) => queue.close())]);
  }
}

test('renovate-interior sums up its costs', () =>
  served('renovate-interior', ['renovate', 'steps'], async ({ host, finished }) => {
    const { job } = await flow.add({
      name: 'renovate-interior', queueName: 'renovate',
      children: [
        { name: 'paint', data: { place: 'ceiling' }, queueName: 'steps' },
        { name: 'paint', data: { place: 'walls' }, queueName: 'steps' },
        { name: 'fix', data: { place: 'floor' }, queueName: 'steps' },
      ],
    });
    await finished(job);
    await eventually('the invoice is in the log', () => host.log().includes('invoice over 6750'));
  }));

const children = (names, data, queueName) => names.map((name, n) => ({
  name, queueName, data: data(name, n), opts: { jobId: name, continueParentOnFailure: true, delay: n === 2 ? 3_600_000 : 0, priority: n + 1 },
}));

test('upload-batch aborts and cleans up', () =>
  served('upload-batch', ['uploads', 'file-uploads'], async ({ queues, host, finished }) => {
    const { job } = await flow.add({
      name: 'upload-batch', queueName: 'uploads', data: { batchId: '123' }, opts: { jobId: 'batch' },
      children: children(['server-1', 'server-2', 'server-3'], (server, n) => ({ server, broken: n === 1 }), 'file-uploads'),
    });
    await assert.rejects(finished(job), /Upload batch failed/);
    assert.equal(await queues['file-uploads'].getJob('server-3'), undefined);
    await eventually('the file is deleted', () => host.log().includes('deleted https://server-1.example/server-1'));
  }, { concurrency: 1 }));

test('deploy-regions rolls back', () =>
  served('deploy-regions', ['deployments', 'deploy-region'], async ({ queues, host, finished }) => {
    const { job } = await flow.add({
      name: 'deploy-global', queueName: 'deployments', data: { version: 'v2.0.0' },
      children: children(['us-east-1', 'eu-west-1', 'ap-south-1'], (region, n) => ({ region, broken: n === 1 }), 'deploy-region'),
    });
    await assert.rejects(finished(job), /Deployment failed in: bull:deploy-region:eu-west-1/);
    assert.equal(await queues['deploy-region'].getJob('ap-south-1'), undefined);
    await eventually('it is rolled back', () => host.log().includes('rolled back us-east-1'));
  }, { concurrency: 1 }));

test('test-suite stops at a critical failure', () =>
  served('test-suite', ['test-results', 'test-runner'], async ({ queues, finished }) => {
    const one = (type, opts, data = {}) => ({ name: `${type}-tests`, queueName: 'test-runner', data: { type, ...data }, opts: { jobId: type, ...opts } });
    const { job } = await flow.add({
      name: 'test-suite', queueName: 'test-results', data: { suite: 'integration' },
      children: [one('auth', { continueParentOnFailure: true }, { broken: true }), one('api', { delay: 3_600_000 }), one('ui', { delay: 3_600_000 })],
    });
    assert.deepEqual(await finished(job), {
      status: 'failed', failedTests: { 'bull:test-runner:auth': 'auth tests failed' }, message: 'Test suite aborted due to critical failure',
    });
    assert.equal(await queues['test-runner'].getDelayedCount(), 0);
  }));

test('step-job goes through its steps', () =>
  served('step-job', ['queueName'], async ({ queues, finished }) => {
    assert.equal(await finished(await queues.queueName.add('job', { step: 0 })), 2);
    await assert.rejects(finished(await queues.queueName.add('job', { step: 7 })), /invalid step/);
  }));

test('delayed-step-job rests without spending an attempt', () =>
  served('delayed-step-job', ['queueName'], async ({ queues, finished }) => {
    const job = await queues.queueName.add('job', { step: 0 });
    await finished(job);
    const { attemptsMade, attemptsStarted, data } = await queues.queueName.getJob(job.id);
    assert.deepEqual([attemptsMade, attemptsStarted, data], [1, 2, { step: 2 }]);
  }));

test('step-job-with-children waits for children that it added', () =>
  served('step-job-with-children', ['parentQueueName', 'childrenQueueName'], async ({ queues, finished }) => {
    const job = await queues.parentQueueName.add('job', { step: 0 });
    assert.equal(await finished(job), 3);
    assert.deepEqual(Object.values(await (await queues.parentQueueName.getJob(job.id)).getChildrenValues()).map(({ made }) => made).sort(), ['child-1', 'child-2']);
  }));

test('chained-flow waits for a flow that it added', () =>
  served('chained-flow', ['parentQueueName', 'childrenQueueName', 'grandchildrenQueueName'], async ({ queues, finished }) => {
    const job = await queues.parentQueueName.add('job', { step: 0 });
    assert.equal(await finished(job), 3);
    const [values] = Object.values(await (await queues.parentQueueName.getJob(job.id)).getChildrenValues());
    assert.deepEqual(values.sort((a, b) => a.idx - b.idx), [{ idx: 0, foo: 'bar' }, { idx: 1, foo: 'baz' }]);
  }));
