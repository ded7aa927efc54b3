// The worked examples of BullMQ's documents in TypeScript: flows from Node, processors from `examples/typescript/`.
import { after, before, beforeEach, test } from 'node:test';
import assert from 'node:assert/strict';
import { eventually, served as servedWith, startRedis } from './harness.mjs';
import { deployment, testSuite, testSuiteResult, uploads } from './worked-examples.mjs';

const example = (name) => new URL(`../../examples/typescript/${name}.ts`, import.meta.url).pathname;
let redis;
before(async () => {
  redis = await startRedis();
});
after(() => redis.stop());
beforeEach(() => redis.client.flushall());

const served = (name, names, body, options = {}) =>
  servedWith(redis, { processor: example(name), grants: { queues: ['*'] }, ...options }, names, body);

test('renovate-interior sums up its costs', () =>
  served('renovate-interior', ['renovate', 'steps'], async ({ flow, host, finished }) => {
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

test('upload-batch aborts and cleans up', () =>
  served('upload-batch', ['uploads', 'file-uploads'], async ({ flow, queues, host, finished }) => {
    const { job } = await flow.add(uploads('server-2'));
    await assert.rejects(finished(job), /Upload batch failed/);
    assert.equal(await queues['file-uploads'].getJob('server-3'), undefined);
    await eventually('the file is deleted', () => host.log().includes('deleted https://server-1.example/server-1'));
  }, { concurrency: 1 }));

test('deploy-regions rolls back', () =>
  served('deploy-regions', ['deployments', 'deploy-region'], async ({ flow, queues, host, finished }) => {
    const { job } = await flow.add(deployment);
    await assert.rejects(finished(job), /Deployment failed in: bull:deploy-region:eu-west-1/);
    assert.equal(await queues['deploy-region'].getJob('ap-south-1'), undefined);
    await eventually('it is rolled back', () => host.log().includes('rolled back us-east-1'));
  }, { concurrency: 1 }));

test('test-suite stops at a critical failure', () =>
  served('test-suite', ['test-results', 'test-runner'], async ({ flow, queues, finished }) => {
    const { job } = await flow.add(testSuite);
    assert.deepEqual(await finished(job), testSuiteResult);
    assert.equal(await queues['test-runner'].getDelayedCount(), 0);
  }));

test('step-job goes through its steps', () =>
  served('step-job', ['queueName'], async ({ queues, finished }) => {
    assert.equal(await finished(await queues.queueName.add('job', { step: 0 })), 2);
    await assert.rejects(finished(await queues.queueName.add('job', { step: 7 })), /invalid step/);
  }));

test('durable-step-job goes through its steps', () =>
  served('durable-step-job', ['queueName'], async ({ queues, finished }) => {
    assert.equal(await finished(await queues.queueName.add('job', {})), 2);
  }));

for (const [example, data, left] of [['delayed-step-job', { step: 0 }, { step: 2 }], ['durable-delayed-step-job', {}, {}]]) {
  test(`${example} rests without spending an attempt`, () =>
    served(example, ['queueName'], async ({ queues, finished, host }) => {
      const job = await queues.queueName.add('job', data);
      await finished(job);
      const ended = await queues.queueName.getJob(job.id);
      assert.deepEqual([ended.attemptsMade, ended.attemptsStarted, ended.data], [1, 2, left]);
      await eventually('each step ran once', () => /initial step[^]*second step/.test(host.log()));
      assert.equal(host.log().split('initial step').length, 2);
    }));
}

for (const example of ['step-job-with-children', 'durable-step-job-with-children']) {
  test(`${example} waits for children that it added`, () =>
    served(example, ['parentQueueName', 'childrenQueueName'], async ({ queues, finished }) => {
      const job = await queues.parentQueueName.add('job', { step: 0 });
      assert.equal(await finished(job), 3);
      assert.deepEqual(Object.values(await (await queues.parentQueueName.getJob(job.id)).getChildrenValues()).map(({ made }) => made).sort(), ['child-1', 'child-2']);
    }));
}

for (const example of ['chained-flow', 'durable-chained-flow']) {
  test(`${example} waits for a flow that it added`, () =>
    served(example, ['parentQueueName', 'childrenQueueName', 'grandchildrenQueueName'], async ({ queues, finished }) => {
      const job = await queues.parentQueueName.add('job', { step: 0 });
      assert.equal(await finished(job), 3);
      const [values] = Object.values(await (await queues.parentQueueName.getJob(job.id)).getChildrenValues());
      assert.deepEqual(values.sort((a, b) => a.idx - b.idx), [{ idx: 0, foo: 'bar' }, { idx: 1, foo: 'baz' }]);
    }));
}
