// The worked examples of BullMQ's documents, as they are in examples/typescript: what each asks of the host. With Redis
// and a host they are tested in tests/interop.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bundle } from '../bundle/index.mjs';
import { load } from './stand-in.mjs';

const scripts = new Map();

/** Runs an example for a job of a queue: how it ended, and what it called. */
async function run(example, queueName, answers = {}) {
  const file = new URL(`../../../examples/typescript/${example}.ts`, import.meta.url).pathname;
  if (!scripts.has(example)) scripts.set(example, (await bundle(file)).script);
  const all = { 'job.queueName': queueName, 'job.queueQualifiedName': `bull:${queueName}`, 'job.childrenValues': [], 'job.failedChildrenValues': [], ...answers };
  const loaded = load(scripts.get(example), all);
  const { ok, failure } = await loaded.run();
  const calls = loaded.calls.filter(([name, ...args]) => args.length && name !== 'logging.log');
  return { value: ok && JSON.parse(ok), failure: failure && [failure.kind, failure.message], calls, lines: loaded.lines().map(([, line]) => line) };
}
const data = (value) => ({ 'job.data': JSON.stringify(value) });
const values = (record) => ({ 'job.childrenValues': Object.entries(record).map(([key, value]) => [key, JSON.stringify(value)]) });

test('upload-batch cleans up after a failure', async () => {
  const answers = { 'job.failedChildrenValues': [['bull:file-uploads:2', 'no answer']], ...values({ 'bull:file-uploads:1': { fileUrl: 'https://a/1' } }) };
  const failed = await run('upload-batch', 'uploads', answers);
  assert.deepEqual([failed.failure, failed.lines], [['failed', 'Upload batch failed'], ['deleted https://a/1']]);
  assert.deepEqual((await run('upload-batch', 'uploads', data({ batchId: '123' }))).value, { status: 'success', batchId: '123' });
  assert.deepEqual((await run('upload-batch', 'file-uploads', data({ server: 's' }))).value, { fileUrl: 'https://s.example/7' });
});

test('test-suite stops at a failure', async () => {
  const failures = [['bull:test-runner:auth', 'auth tests failed']];
  assert.deepEqual((await run('test-suite', 'test-results', { 'job.failedChildrenValues': failures })).value, {
    status: 'failed', failedTests: Object.fromEntries(failures), message: 'Test suite aborted due to critical failure',
  });
  assert.deepEqual((await run('test-suite', 'test-results', values({ k: 1 }))).value, { status: 'passed', results: { k: 1 } });
});

test('deploy-regions rolls back', async () => {
  const answers = { 'job.failedChildrenValues': [['bull:deploy-region:eu', 'refused']], ...values({ 'bull:deploy-region:us': { region: 'us' } }) };
  const failed = await run('deploy-regions', 'deployments', answers);
  assert.deepEqual([failed.failure, failed.lines], [['failed', 'Deployment failed in: bull:deploy-region:eu'], ['rolled back us']]);
});

test('renovate-interior sums up', async () => {
  assert.deepEqual((await run('renovate-interior', 'steps', { 'job.name': 'fix', ...data({ place: 'floor' }) })).value, 1750);
  assert.deepEqual((await run('renovate-interior', 'renovate', values({ a: 2500, b: 2500, c: 1750 }))).lines, ['invoice over 6750']);
});

test('step jobs keep their steps', async () => {
  const steps = await run('step-job', 'queueName', data({ step: 0 }));
  assert.deepEqual([steps.value, steps.calls, steps.lines], [2, [['job.updateData', '{"step":1}'], ['job.updateData', '{"step":2}']], ['initial step', 'second step']]);
  assert.deepEqual((await run('step-job', 'queueName', data({ step: 9 }))).failure, ['failed', 'invalid step']);
});

test('delayed-step-job rests', async () => {
  const { failure, calls } = await run('delayed-step-job', 'queueName', data({ step: 0 }));
  assert.equal(failure[0], 'delayed');
  assert.deepEqual(calls.map(([name]) => name), ['job.moveToDelayed', 'job.updateData']);
  assert.deepEqual((await run('delayed-step-job', 'queueName', data({ step: 1 }))).value, null);
});

test('step-job-with-children adds children and waits', async () => {
  const { failure, calls } = await run('step-job-with-children', 'parentQueueName', { ...data({ step: 0 }), 'producer.add': '1' });
  assert.equal(failure[0], 'waiting-children');
  const options = '{"parent":{"id":"7","queue":"bull:parentQueueName"}}';
  assert.deepEqual(calls.filter(([name]) => name === 'producer.add'), ['child-1', 'child-2'].map((name) => ['producer.add', 'childrenQueueName', { name, data: '{"foo":"bar"}', options }]));
  const done = await run('step-job-with-children', 'parentQueueName', { ...data({ step: 2 }), 'job.moveToWaitingChildren': false });
  assert.equal(done.value, 3);
});

test('chained-flow adds a flow and waits', async () => {
  const tree = { id: 'c', name: 'child-job', queueName: 'childrenQueueName', children: [1, 2].map((id) => ({ id: `${id}`, name: 'g', queueName: 'grandchildrenQueueName' })) };
  const { failure, calls } = await run('chained-flow', 'parentQueueName', { ...data({ step: 0 }), 'producer.addFlows': JSON.stringify([tree]) });
  assert.equal(failure[0], 'waiting-children');
  const [flow] = JSON.parse(calls.find(([name]) => name === 'producer.addFlows')[1]);
  assert.deepEqual([flow.opts.parent, flow.children.map(({ data: { idx } }) => idx)], [{ id: '7', queue: 'bull:parentQueueName' }, [0, 1]]);
});

/** A host that keeps steps; what it calls has these values, or waits. */
function keeping(called = []) {
  const kept = {};
  const value = () => (called.length ? { kind: 'completed', text: called.shift() } : { kind: 'waiting' });
  return { 'steps.begin': (name) => kept[name], 'steps.finish': (name, text) => { kept[name] = text; }, 'steps.call': value };
}

test('durable-step-job keeps its steps', async () => {
  const answers = keeping();
  const first = await run('durable-step-job', 'queueName', answers);
  assert.deepEqual([first.value, first.lines], [2, ['initial step', 'second step']]);
  const again = await run('durable-step-job', 'queueName', answers);
  assert.deepEqual([again.value, again.lines], [2, []]);
});

test('durable-delayed-step-job rests', async () => {
  const answers = keeping();
  const first = await run('durable-delayed-step-job', 'queueName', answers);
  assert.deepEqual([first.failure[0], first.lines], ['delayed', ['initial step']]);
  assert.deepEqual(first.calls.at(-1), ['steps.sleep', 'rest', 200]);
  const rested = await run('durable-delayed-step-job', 'queueName', { ...answers, 'steps.sleep': false });
  assert.deepEqual([rested.value, rested.lines], [null, ['second step']]);
});

test('durable-step-job-with-children calls its children', async () => {
  const waits = await run('durable-step-job-with-children', 'parentQueueName', keeping());
  assert.deepEqual([waits.failure[0], waits.lines], ['waiting-children', ['initial step']]);
  const job = { name: 'child-1', data: '{"foo":"bar"}', options: '{}' };
  assert.deepEqual(waits.calls.at(-1), ['steps.call', 'first child', 'childrenQueueName', job]);
  const done = await run('durable-step-job-with-children', 'parentQueueName', keeping(['{}', '{}']));
  assert.deepEqual([done.value, done.lines], [3, ['initial step', 'second step']]);
});

test('durable-chained-flow adds its flow once', async () => {
  const tree = { id: 'c', name: 'child-job', queueName: 'childrenQueueName', children: [1, 2].map((id) => ({ id: `${id}`, name: 'g', queueName: 'grandchildrenQueueName' })) };
  const answers = { ...keeping(), 'producer.addFlows': JSON.stringify([tree]) };
  const waits = await run('durable-chained-flow', 'parentQueueName', answers);
  assert.deepEqual([waits.failure[0], waits.lines], ['waiting-children', ['initial step', 'second step']]);
  const [flow] = JSON.parse(waits.calls.find(([name]) => name === 'producer.addFlows')[1]);
  assert.deepEqual([flow.opts.parent, flow.children.map(({ data: { idx } }) => idx)], [{ id: '7', queue: 'bull:parentQueueName' }, [0, 1]]);
  const done = await run('durable-chained-flow', 'parentQueueName', { ...answers, 'job.moveToWaitingChildren': false });
  assert.deepEqual([done.value, done.lines], [3, []]);
  assert.ok(!done.calls.some(([name]) => name === 'producer.addFlows'));
});
