// Our commands leave what BullMQ's own calls leave: adding, removing, retrying and promoting jobs of flows.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FlowProducer, Job, Queue } from 'bullmq';
import { run, snapshot, startRedis } from './harness.mjs';

const [TOP, LOW] = ['top', 'low'];
let redis;
let dir;
before(async () => {
  redis = await startRedis();
  dir = await mkdtemp(join(tmpdir(), 'toril-flows-'));
});
after(async () => {
  await redis.stop();
  await rm(dir, { recursive: true });
});

const node = (queueName, jobId, children, opts = {}) => ({
  name: `name of ${jobId}`,
  queueName,
  data: { jobId },
  opts: { jobId, ...opts },
  children,
});
const tree = () =>
  node(TOP, 'root', [
    node(LOW, 'a', [node(LOW, 'a1', [node(TOP, 'a11'), node(TOP, 'a12', undefined, { priority: 3 })]), node(LOW, 'a2')]),
    node(LOW, 'b', [node(LOW, 'b1', undefined, { delay: 3_600_000, failParentOnFailure: true })], { attempts: 3 }),
    node(TOP, 'c', undefined, { lifo: true, ignoreDependencyOnFailure: true }),
  ]);

/** The same setup, then one operation by BullMQ and by us: both must leave the same keys. */
async function same(setup, theirs, ours) {
  const left = [];
  for (const operation of [theirs, ours]) {
    await redis.client.flushall();
    const options = { connection: redis.connection };
    const top = new Queue(TOP, options);
    const low = new Queue(LOW, options);
    const flow = new FlowProducer(options);
    await Promise.all([top.waitUntilReady(), low.waitUntilReady()]);
    await setup({ top, low, flow });
    await operation({ top, low, flow });
    left.push([await snapshot(redis.client, 'bull:top'), await snapshot(redis.client, 'bull:low')]);
    await Promise.all([top.close(), low.close(), flow.close()]);
  }
  assert.deepEqual(left[1], left[0]);
  return left[1];
}

const toril = (...args) => run(...args, '--redis', redis.url);
async function file(content) {
  const path = join(dir, 'flow.json');
  await writeFile(path, JSON.stringify(content));
  return path;
}

test('a flow is added as FlowProducer.add adds it', async () => {
  await same(
    () => {},
    ({ flow }) => flow.add(tree()),
    async () => toril('flow', 'add', await file(tree())),
  );
});

test('defaults of queues are taken from the options of the flow', async () => {
  const queuesOptions = { [LOW]: { defaultJobOptions: { removeOnComplete: true, attempts: 5 } } };
  await same(
    () => {},
    ({ flow }) => flow.add(tree(), { queuesOptions }),
    async () => toril('flow', 'add', await file(tree()), '--opts', JSON.stringify({ queuesOptions })),
  );
});

test('several flows are added as FlowProducer.addBulk adds them', async () => {
  const flows = () => [node(TOP, 'r1', [node(LOW, 'l1')]), node(TOP, 'r2', [node(LOW, 'l2'), node(LOW, 'l3')])];
  await same(
    () => {},
    ({ flow }) => flow.addBulk(flows()),
    async () => toril('flow', 'add', await file(flows())),
  );
});

test('options that say nothing in a flow are stored, and change nothing', async () => {
  const other = { parent: { id: 'root', queue: 'bull:low' }, repeat: { every: 10 } };
  const flow = () => node(TOP, 'r', [node(LOW, 'x', undefined, other)], { repeat: { pattern: '* * * * *' } });
  const queuesOptions = { [TOP]: { defaultJobOptions: { parent: { id: 'gone', queue: 'bull:top' } } } };
  await same(
    () => {},
    ({ flow: producer }) => producer.add(flow(), { queuesOptions }),
    async () => toril('flow', 'add', await file(flow()), '--opts', JSON.stringify({ queuesOptions })),
  );
});

test('a root without children claims its deduplication id, and is the job that holds it', async () => {
  const lone = (id) => node(TOP, id, undefined, { deduplication: { id: 'd' } });
  await same(
    ({ flow }) => flow.add(lone('first')),
    ({ flow }) => flow.add(lone('second')),
    async () => assert.match(await toril('flow', 'add', await file(lone('second'))), /first/),
  );
});

test('a flow is chained below a job that exists', async () => {
  const chained = () => node(LOW, 'below', [node(LOW, 'leaf')], { parent: { id: 'root', queue: 'bull:top' } });
  await same(
    ({ flow }) => flow.add(tree()),
    ({ flow }) => flow.add(chained()),
    async () => toril('flow', 'add', await file(chained())),
  );
});

test('a flow whose children exist adopts them, finished ones too', async () => {
  const flow = () => node(TOP, 'parent', [node(LOW, 'done'), node(LOW, 'waiting')]);
  const finish = async ({ low }) => {
    await low.add('done', {}, { jobId: 'done' });
    await redis.client.multi().lrem('bull:low:wait', 1, 'done').lpush('bull:low:active', 'done').exec();
    const job = await Job.fromId(low, 'done');
    await job.moveToCompleted({ value: 7 }, '0', false);
    await low.add('waiting', {}, { jobId: 'waiting' });
  };
  await same(
    finish,
    ({ flow: producer }) => producer.add(flow()),
    async () => toril('flow', 'add', await file(flow())),
  );
  const lone = () => node(TOP, 'parent', [node(LOW, 'done')]);
  const [top] = await same(
    finish,
    ({ flow: producer }) => producer.add(lone()),
    async () => toril('flow', 'add', await file(lone())),
  );
  assert.deepEqual(top.wait, ['parent'], 'a parent of finished children only is free at once');
});

test('nothing of a flow is added when any part of it is refused', async () => {
  await redis.client.flushall();
  const refused = [
    [{ ...tree(), opts: { jobId: 'a:b' } }, /Custom Id cannot contain :/],
    [node(TOP, 'r', [node(LOW, 'x', undefined, { deduplication: { id: 'd' } })]), /Deduplication and parent options cannot be used together/],
    [node(TOP, 'r', [node(LOW, 'x')], { deduplication: { id: 'd' } }), /Deduplication options cannot be used on flow nodes with children/],
    [node(TOP, 'r', [node(LOW, 'x')], { parent: { id: 'gone', queue: 'bull:top' } }), /Missing key for parent job bull:top:gone/],
    [node(TOP, 'r', [node(TOP, 'x', [node(TOP, 'r')])]), /its own ancestor/],
    [Array.from({ length: 1000 }).reduce((child) => node(TOP, 'n', child && [child]), undefined), /more than 100 levels/],
    [node(TOP, 'r', [node(LOW, 'x', undefined, { priority: 1.5 })]), /Priority should not be float/],
  ];
  for (const [flow, reason] of refused) {
    await assert.rejects(toril('flow', 'add', await file(flow)), reason);
  }
  assert.deepEqual(await redis.client.keys('*'), []);
});

test('a child that has another parent is refused, and nothing is added', async () => {
  await redis.client.flushall();
  await toril('flow', 'add', await file(tree()));
  const before = await snapshot(redis.client, 'bull:top');
  const thief = node(TOP, 'thief', [node(TOP, 'c')]);
  await assert.rejects(toril('flow', 'add', await file(thief)), /cannot be replaced/);
  const circle = node(TOP, 'c', [node(TOP, 'root')], { parent: { id: 'a11', queue: 'bull:top' } });
  await assert.rejects(toril('flow', 'add', await file(circle)), /cannot be replaced|descendant/);
  await assert.rejects(
    toril('add', TOP, 'x', '--opts', JSON.stringify({ jobId: 'root', parent: { id: 'a11', queue: 'bull:top' } })),
    /descendant of its new child/,
  );
  assert.deepEqual(await snapshot(redis.client, 'bull:top'), before);
});

for (const [queueName, id] of [[TOP, 'root'], [LOW, 'a'], [LOW, 'a1'], [TOP, 'a11'], [LOW, 'b1'], [TOP, 'c']]) {
  test(`removing job ${id} of a flow leaves what BullMQ leaves`, async () => {
    await same(
      ({ flow }) => flow.add(tree()),
      async (queues) => (await queues[queueName].getJob(id)).remove(),
      () => toril('job', 'remove', queueName, id),
    );
  });
}

test('removing a job can keep its children', async () => {
  await same(
    ({ flow }) => flow.add(tree()),
    async ({ low }) => (await low.getJob('a')).remove({ removeChildren: false }),
    () => toril('job', 'remove', LOW, 'a', '--keep-children'),
  );
});

test('nothing is removed when a job of the flow is locked', async () => {
  const lock = async ({ flow }) => {
    await flow.add(tree());
    await redis.client.set('bull:top:a11:lock', 'token');
  };
  await same(
    lock,
    async ({ top }) => assert.rejects((await top.getJob('root')).remove(), /locked by another worker/),
    () => assert.rejects(toril('job', 'remove', TOP, 'root'), /`root` of `top`, or a child of it, is active/),
  );
});

test('a finished job is retried as BullMQ retries it', async () => {
  for (const state of ['failed', 'completed']) {
    const policy = state === 'failed' ? { ignoreDependencyOnFailure: true } : {};
    const finish = async ({ low, flow }) => {
      await flow.add(node(TOP, 'parent', [node(LOW, 'child', undefined, policy), node(LOW, 'other')]));
      await redis.client.multi().lrem('bull:low:wait', 1, 'child').lpush('bull:low:active', 'child').exec();
      const job = await Job.fromId(low, 'child');
      if (state === 'failed') await job.moveToFailed(new Error('no'), '0', false);
      else await job.moveToCompleted('yes', '0', false);
    };
    await same(
      finish,
      async ({ low }) => (await low.getJob('child')).retry(state),
      () => toril('job', 'retry', LOW, 'child', ...(state === 'completed' ? ['--completed'] : [])),
    );
  }
});

test('a delayed job is promoted as BullMQ promotes it', async () => {
  await same(
    async ({ low }) => {
      await low.add('plain', {}, { jobId: 'plain', delay: 3_600_000 });
      await low.add('ranked', {}, { jobId: 'ranked', delay: 3_600_000, priority: 2 });
    },
    async ({ low }) => {
      for (const id of ['plain', 'ranked']) await (await low.getJob(id)).promote();
    },
    async () => {
      for (const id of ['plain', 'ranked']) await toril('job', 'promote', LOW, id);
    },
  );
  await assert.rejects(toril('job', 'promote', LOW, 'plain'), /is waiting, not delayed/);
});

test('a flow is shown as getFlow reads it', async () => {
  await redis.client.flushall();
  const producer = new FlowProducer({ connection: redis.connection });
  await producer.add(tree());
  const shape = ({ job, children = [] }) => [job.id, children.map(shape).sort()];
  const ours = ({ id, children = [] }) => [id, children.map(ours).sort()];
  for (const depth of [1, 2, 3, 10]) {
    const expected = await producer.getFlow({ id: 'root', queueName: TOP, depth });
    const shown = JSON.parse(await toril('flow', 'show', TOP, 'root', '--json', '--depth', String(depth)));
    assert.deepEqual(ours(shown), shape(expected));
  }
  const drawn = await toril('flow', 'show', TOP, 'root');
  assert.match(drawn, /^name of root \[waiting-children\] top:root\n/);
  assert.match(drawn, /│ {2}├─ name of|│ {2}└─ name of/);
  assert.equal(await toril('job', 'state', LOW, 'b1'), 'delayed');
  await producer.close();
});

test('events are shown as they stand in the stream', async () => {
  await redis.client.flushall();
  await toril('flow', 'add', await file(node(TOP, 'parent', [node(LOW, 'child')])));
  const lines = (await toril('events', LOW, '--all', '--idle-ms', '50', '--json')).split('\n').map(JSON.parse);
  assert.deepEqual(lines.map(({ event, jobId }) => [event, jobId]), [['added', 'child'], ['waiting', 'child']]);
});

// Deduplication on add, each mode: what the second and the third add leave.
const modes = {
  simple: [{}, {}],
  'with a time to live': [{ ttl: 60_000 }, {}],
  extended: [{ ttl: 60_000, extend: true }, {}],
  replaced: [{ ttl: 60_000, replace: true }, { delay: 3_600_000 }],
  'replaced and extended': [{ ttl: 60_000, replace: true, extend: true }, { delay: 3_600_000 }],
  'replaced when not delayed': [{ replace: true }, {}],
  rescheduled: [{ reschedule: true }, { delay: 3_600_000 }],
  'keeping the last': [{ keepLastIfActive: true }, {}],
};
for (const [mode, [options, opts]] of Object.entries(modes)) {
  test(`deduplication ${mode} works on add as in BullMQ`, async () => {
    const jobs = [1, 2, 3].map((n) => [{ n }, { ...opts, deduplication: { id: 'one', ...options } }]);
    await same(
      () => {},
      async ({ low }) => {
        for (const [data, opts] of jobs) await low.add('job', data, opts);
      },
      async () => {
        for (const [data, opts] of jobs) {
          await toril('add', LOW, 'job', '--data', JSON.stringify(data), '--opts', JSON.stringify(opts));
        }
      },
    );
  });
}

test('a deduplication id whose holder is gone is taken over', async () => {
  const opts = { deduplication: { id: 'one' } };
  await same(
    async ({ low }) => {
      await low.add('job', {}, opts);
      await redis.client.del('bull:low:1');
      await redis.client.lpop('bull:low:wait');
    },
    ({ low }) => low.add('job', {}, opts),
    () => toril('add', LOW, 'job', '--opts', JSON.stringify(opts)),
  );
});
