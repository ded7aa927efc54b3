// Queues, flows and schedulers: what is sent to the host, and what comes back.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loaded, refusal } from './stand-in.mjs';

/** The value of a processor with this body, and the calls on queues that it made. */
async function calling(body, answers) {
  const { run, calls } = await loaded(
    `import { FlowProducer, Queue, QueueEventsProducer } from 'bullmq';
     const queue = new Queue('steps', { connection: {}, defaultJobOptions: { attempts: 3 } });
     const flows = new FlowProducer({ connection: {} });
     export default async function (job: any) { ${body} }`,
    answers,
  );
  const { ok, failure } = await run();
  if (failure) throw new Error(failure.message);
  return { value: JSON.parse(ok), calls: calls.filter(([name]) => !name.startsWith('job.')) };
}

test('jobs are added with the options of their queue', async () => {
  const { value, calls } = await calling(
    'const added = await queue.add("paint", { place: "wall" }, { delay: 5, parent: { id: job.id, queue: job.queueQualifiedName }, failParentOnFailure: true }); return { ...added.toJSON(), timestamp: 0, queueName: added.queueName }',
    { 'producer.add': '12' },
  );
  const options = { attempts: 3, delay: 5, parent: { id: '7', queue: 'bull:walls' }, failParentOnFailure: true };
  assert.deepEqual(calls, [['producer.add', 'steps', { name: 'paint', data: '{"place":"wall"}', options: JSON.stringify(options) }]]);
  assert.deepEqual(value, {
    id: '12', name: 'paint', data: { place: 'wall' }, opts: options, queueQualifiedName: 'bull:steps', queueName: 'steps',
    progress: 0, returnvalue: null, stacktrace: null, delay: 5, priority: 0, timestamp: 0, attemptsStarted: 0,
    attemptsMade: 0, stalledCounter: 0, parentKey: 'bull:walls:7', parent: { id: '7', queueKey: 'bull:walls', fpof: true },
  });
});

test('many jobs are added by one call', async () => {
  const { value, calls } = await calling(
    'return (await queue.addBulk([{ name: "a", data: 1 }, { name: "b", opts: { jobId: "own" } }])).map((added) => added.id)',
    { 'producer.addBulk': ['1', 'own'] },
  );
  assert.deepEqual(value, ['1', 'own']);
  assert.deepEqual(calls, [['producer.addBulk', 'steps', [
    { name: 'a', data: '1', options: '{"attempts":3}' },
    { name: 'b', data: '{}', options: '{"attempts":3,"jobId":"own"}' },
  ]]]);
});

test('jobs are found by their ids', async () => {
  const found = { id: '5', key: 'bull:steps:5', name: 'paint', queueName: 'steps', state: 'failed', failedReason: 'no paint' };
  const { value } = await calling(
    `const found = await queue.getJob('5');
     let refused; try { found.data } catch (error) { refused = error.message }
     return { found, refused, none: await queue.getJob('6'), own: (await new Queue('walls').getJob('7')) === job }`,
    { 'producer.getFlow': (_queue, id) => (id === '5' ? JSON.stringify(found) : 'null') },
  );
  assert.deepEqual(value.found, { id: '5', name: 'paint', queueQualifiedName: 'bull:steps', returnvalue: null, failedReason: 'no paint' });
  assert.match(value.refused, /`data` of job 5 in queue `steps` cannot be read/);
  assert.equal(value.own, true);
});

test('jobs of a queue are looked after', async () => {
  const { value, calls } = await calling(
    `const other = await queue.add('paint', {}, { deduplication: { id: 'd' } });
     await other.changeDelay(10); await other.changePriority({ priority: 2, lifo: true }); await other.promote();
     await other.retry('completed'); await other.remove({ removeChildren: false });
     return [await other.getState(), await other.isDelayed(), await other.removeDeduplicationKey(), other.delay, other.priority]`,
    { 'producer.add': '5', 'producer.state': 'delayed', 'queues.removeDeduplicationKey': true },
  );
  assert.deepEqual(value, ['delayed', true, true, 0, 2]);
  assert.deepEqual(calls.slice(1), [
    ['queues.changeDelay', 'steps', '5', 10], ['queues.changePriority', 'steps', '5', 2, true], ['queues.promote', 'steps', '5'],
    ['queues.retry', 'steps', '5', 'completed'], ['producer.remove', 'steps', '5', false], ['producer.state', 'steps', '5'],
    ['producer.state', 'steps', '5'], ['queues.removeDeduplicationKey', 'steps', 'd'],
  ]);
});

test('counts have the states that were asked for', async () => {
  const counts = { active: 1, completed: 2, delayed: 3, failed: 4, prioritized: 5, waiting: 6, 'waiting-children': 7 };
  const { value } = await calling(
    `return [await queue.getJobCounts(), await queue.getJobCounts('wait', 'failed'), await queue.getWaitingChildrenCount(), await queue.count()]`,
    { 'queues.counts': JSON.stringify(counts) },
  );
  assert.deepEqual(value, [counts, { wait: 6, failed: 4 }, 7, 21]);
});

test('removing says whether it was possible', async () => {
  const answers = { 'producer.remove': (_queue, id) => ({ 1: () => undefined, 2: refusal('not-in-state', 'locked'), 3: refusal('not-found', 'none') })[id]() };
  const { value } = await calling('return [await queue.remove("1"), await queue.remove("2"), await queue.remove("3")]', answers);
  assert.deepEqual(value, [1, 0, 1]);
});

test('schedulers are kept', async () => {
  const { value, calls } = await calling(
    `const next = await queue.upsertJobScheduler('nightly', { pattern: '0 3 * * *', endDate: new Date(5e12) }, { data: { full: true }, opts: { priority: 1 } });
     return [next.id, next.repeatJobKey, await queue.removeJobScheduler('nightly'), await queue.getJobScheduler('nightly'), await queue.getJobSchedulers(0, 9, true)]`,
    { 'schedulers.upsert': 'repeat:nightly:1', 'schedulers.remove': true, 'schedulers.get': '{"key":"nightly"}', 'schedulers.list': '[]' },
  );
  assert.deepEqual(value, ['repeat:nightly:1', 'nightly', true, { key: 'nightly' }, []]);
  const template = { name: 'nightly', data: '{"full":true}', options: '{"attempts":3,"priority":1}' };
  assert.deepEqual(calls[0], ['schedulers.upsert', 'steps', 'nightly', '{"pattern":"0 3 * * *","endDate":5000000000000}', template]);
  assert.deepEqual(calls.at(-1), ['schedulers.list', 'steps', '{"start":0,"end":9,"asc":true}']);
});

test('what is no name is refused, and nothing is added', async () => {
  const adds = ['queue.add(name, 1)', 'queue.addBulk([{ name }])', "flows.add({ name, queueName: 'steps' })", "job.call('step', { queue: 'steps', name })"];
  for (const add of adds) {
    const { value, calls } = await calling(
      `const refused = [];
       for (const name of [undefined, null, {}, () => 1, true] as any[]) await (async () => ${add})().catch((error: Error) => refused.push(error.message));
       return refused`,
    );
    assert.equal(value.length, 5, add);
    for (const reason of value) assert.match(reason, /^the name of a job must be a string, not /, add);
    assert.deepEqual(calls, [], add);
  }
});

test('schedulers are read as BullMQ reads them', async () => {
  const { value, calls } = await calling(
    `await queue.upsertJobScheduler('s', { every: 5 }, { name: null, data: null } as any);
     return queue.upsertJobScheduler('s', { every: 5, endDate: 1000 }).catch((error: Error) => error.message)`,
    { 'schedulers.upsert': 'repeat:s:1' },
  );
  assert.equal(value, 'End date must be greater than current timestamp');
  assert.deepEqual(calls, [['schedulers.upsert', 'steps', 's', '{"every":5}', { name: 's', data: '{}', options: '{"attempts":3}' }]]);
});

test('flows are added as trees of jobs', async () => {
  const tree = { id: 'r', key: 'bull:top:r', name: 'root', queueName: 'top', children: [{ id: 'c', key: 'bull:steps:c', name: 'child', queueName: 'steps' }] };
  const { value, calls } = await calling(
    `const { job: root, children } = await flows.add(
       { name: 'root', queueName: 'top', data: { a: 1 }, note: 'mine', children: [{ name: 'child', queueName: 'steps', opts: { attempts: 5 } }] },
       { queuesOptions: { top: { defaultJobOptions: { removeOnComplete: true }, streams: {} } } });
     return [root.id, root.data, root.opts, children[0].job.id, children[0].job.opts, children[0].job.queueName]`,
    { 'producer.addFlows': JSON.stringify([tree]) },
  );
  assert.deepEqual(value, ['r', { a: 1 }, { attempts: 0, removeOnComplete: true }, 'c', { attempts: 5 }, 'steps']);
  assert.deepEqual(calls.map(([name, ...args]) => [name, ...args.map(JSON.parse)]), [[
    'producer.addFlows',
    [{ name: 'root', queueName: 'top', data: { a: 1 }, children: [{ name: 'child', queueName: 'steps', opts: { attempts: 5 } }] }],
    { queuesOptions: { top: { defaultJobOptions: { removeOnComplete: true } } } },
  ]]);
});

test('flows are read', async () => {
  const tree = { id: 'r', name: 'root', queueName: 'top', state: 'waiting-children', children: [{ id: 'c', name: 'child', queueName: 'steps', state: 'completed', returnvalue: 5 }] };
  const { value, calls } = await calling(
    `const { job: root, children } = await flows.getFlow({ queueName: 'top', id: 'r' }); return [root.name, children[0].job.returnvalue, await flows.getFlow({ queueName: 'top', id: 'x', depth: 2 })]`,
    { 'producer.getFlow': (_queue, id) => (id === 'r' ? JSON.stringify(tree) : 'null') },
  );
  assert.deepEqual(value, ['root', 5, null]);
  assert.deepEqual(calls, [
    ['producer.getFlow', 'top', 'r', '{"depth":10,"maxChildren":20}'], ['producer.getFlow', 'top', 'x', '{"depth":2,"maxChildren":20}'],
  ]);
});

test('events of one\'s own are published, and limits set', async () => {
  const { calls } = await calling(
    `await new QueueEventsProducer('steps').publishEvent({ eventName: 'painted', wall: 3 });
     await queue.rateLimit('100'); await queue.removeDeduplicationKey('d'); return null`,
    { 'queues.removeDeduplicationKey': false },
  );
  assert.deepEqual(calls, [
    ['queues.publishEvent', 'steps', 'painted', [['wall', '3']]], ['queues.rateLimit', 'steps', 100],
    ['queues.removeDeduplicationKey', 'steps', 'd'],
  ]);
});

test('what an event lacks is empty, as BullMQ stores it', async () => {
  // The host refuses an empty name.
  const { calls } = await calling(
    `const events = new QueueEventsProducer('steps');
     await events.publishEvent({}); await events.publishEvent({ eventName: null, wall: undefined, coat: null, wet: false });
     return null`,
    {},
  );
  assert.deepEqual(calls, [
    ['queues.publishEvent', 'steps', '', []],
    ['queues.publishEvent', 'steps', '', [['wall', ''], ['coat', ''], ['wet', 'false']]],
  ]);
});

test('another prefix is out of reach', async () => {
  await assert.rejects(calling('await new Queue("q", { prefix: "other" }).add("a", {})'), /its queues have the prefix `bull`/);
  const { calls } = await calling('await new Queue("q", { prefix: "bull" }).add("a", {}); return 1', { 'producer.add': '1' });
  assert.equal(calls.length, 1);
});

/** What a processor is told of each of these calls, none of which reaches the host. */
async function refusedOf(calls) {
  const { value, calls: made } = await calling(
    `const told = []; const other = await queue.add('other', {});
     for (const call of [${calls.join(', ')}]) { try { await call(); told.push('taken') } catch (error) { told.push(error.message) } }
     return told`,
    { 'producer.add': '5' },
  );
  assert.equal(made.length, 1, JSON.stringify(made));
  return value;
}

test('options with a number that BullMQ cannot store are refused wherever they are given', async () => {
  const options = [
    '{ attempts: Infinity }', '{ delay: NaN }', '{ delay: Infinity }', '{ priority: NaN }', '{ timestamp: NaN }',
    '{ backoff: { type: "fixed", delay: Infinity } }', '{ removeOnComplete: NaN }', '{ removeOnFail: { age: -Infinity } }',
  ];
  const ways = [
    (opts) => `() => queue.add('n', {}, ${opts})`,
    (opts) => `() => queue.addBulk([{ name: 'n' }, { name: 'n', opts: ${opts} }])`,
    (opts) => `() => new Queue('steps', { defaultJobOptions: ${opts} }).add('n', {})`,
    (opts) => `() => queue.upsertJobScheduler('s', { every: 1000 }, { opts: ${opts} })`,
    (opts) => `() => flows.add({ name: 'n', queueName: 'steps', children: [{ name: 'n', queueName: 'steps', opts: ${opts} }] })`,
    (opts) => `() => flows.add({ name: 'n', queueName: 'steps' }, { queuesOptions: { steps: { defaultJobOptions: ${opts} } } })`,
    (opts) => `() => job.call('c', { queue: 'steps', name: 'n', opts: ${opts} })`,
  ];
  for (const told of await refusedOf(options.flatMap((opts) => ways.map((way) => way(opts))))) {
    assert.match(told, /^Cannot serialise number: must not be NaN or Inf \(`\w+` is (NaN|-?Infinity)\)$/);
  }
  assert.deepEqual(await refusedOf(["() => queue.add('n', {}, { jobId: null })"]), ['Custom Id cannot be null']);
});

test('data with such a number have null, as JSON has it', async () => {
  const { calls } = await calling(
    `await queue.add('n', { n: NaN }); await flows.add({ name: 'n', queueName: 'steps', data: { n: Infinity } })`,
    { 'producer.add': '5', 'producer.addFlows': '[{"id":"6"}]' },
  );
  assert.equal(calls[0][2].data, '{"n":null}');
  assert.deepEqual(JSON.parse(calls[1][1])[0].data, { n: null });
});

test('schedules with a date or a number that cannot be read are refused', async () => {
  const schedules = [
    "{ every: 1000, startDate: 'garbage' }", "{ every: 1000, endDate: 'garbage' }", '{ every: 1000, startDate: NaN + 1, limit: Infinity }',
    '{ every: Infinity }', "{ pattern: '* * * * *', startDate: new Date('garbage') }",
  ];
  const told = await refusedOf(schedules.map((schedule) => `() => queue.upsertJobScheduler('s', ${schedule})`));
  for (const message of told) assert.match(message, /^Cannot serialise number: must not be NaN or Inf/);
  const { calls } = await calling(
    `await queue.upsertJobScheduler('s', { every: 1000, startDate: '', endDate: 0 }); await queue.upsertJobScheduler('s', { every: 1000, startDate: '2099-01-01' })`,
    { 'schedulers.upsert': 'repeat:s:1' },
  );
  assert.deepEqual(calls.map(([, , , schedule]) => JSON.parse(schedule)), [{ every: 1000 }, { every: 1000, startDate: Date.UTC(2099, 0) }]);
});

test('what the host would not take is refused in words', async () => {
  const told = await refusedOf([
    '() => other.changePriority({ priority: -1 })', '() => other.changePriority({ priority: 1.5 })', '() => other.changePriority({ priority: NaN })',
    '() => other.changePriority({ priority: 2 ** 32 })', "() => other.retry('bogus')", '() => other.changeDelay(NaN)',
    '() => other.changeDelay()', '() => other.changeDelay(null)', '() => other.changeDelay(true)', "() => other.changeDelay('')",
  ]);
  assert.deepEqual(told, [
    'Priority should be between 0 and 4294967295', 'Priority should not be float', 'Priority should be between 0 and 4294967295',
    'Priority should be between 0 and 4294967295', 'Job 5 is not in the bogus state. reprocessJob',
    ...Array(5).fill('changeDelay: the delay must be a number of milliseconds'),
  ]);
  const { calls } = await calling(
    `const other = await queue.add('other', {}); await other.changePriority({ priority: '7' }); await other.changePriority({ priority: 99999999 }); await other.changeDelay('5')`,
    { 'producer.add': '5' },
  );
  assert.deepEqual(calls.slice(1), [
    ['queues.changePriority', 'steps', '5', 7, false], ['queues.changePriority', 'steps', '5', 99999999, false], ['queues.changeDelay', 'steps', '5', 5],
  ]);
});

test('a rate limit lasts for a time that Redis takes', async () => {
  const durations = ['NaN', 'undefined', 'null', '0', '-1', '2.5', '1e19', '1e21', 'true', "''", "'1e3'", 'new Date()', '2 ** 63'];
  const told = await refusedOf(durations.map((duration) => `() => queue.rateLimit(${duration})`));
  for (const [at, message] of told.entries()) assert.equal(message, 'rateLimit: the duration must be a whole number of milliseconds above 0', durations[at]);
  const { calls } = await calling("await queue.rateLimit(1); await queue.rateLimit('60000'); await queue.rateLimit(5n); await queue.rateLimit(2 ** 53)");
  assert.deepEqual(calls.map(([, , ms]) => ms), [1, 60_000, 5, 2 ** 53]);
});

test('a scheduler has an id', async () => {
  const told = await refusedOf(['() => queue.upsertJobScheduler(undefined, { every: 5 })', '() => queue.upsertJobScheduler(null, { every: 5 })']);
  assert.deepEqual(told, Array(2).fill('upsertJobScheduler: the id of a scheduler must be a string'));
  const { value, calls } = await calling(
    `return [await queue.removeJobScheduler(), await queue.removeJobScheduler(null), await queue.getJobScheduler() ?? 'none', await queue.getJobScheduler(null) ?? 'none']`,
  );
  assert.deepEqual([value, calls], [[false, false, 'none', 'none'], []]);
});

test('nobody has an id without text', async () => {
  const { value, calls } = await calling("return [await queue.getJob('') ?? 'none', await queue.getJob(0) ?? 'none', await queue.getJobState(''), await queue.getJobState()]");
  assert.deepEqual(value, ['none', 'none', 'unknown', 'unknown']);
  assert.deepEqual(calls, []);
});
