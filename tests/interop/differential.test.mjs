// Random jobs through Node's Worker and through ours leave the same keys: one at a time, and many at once.
//
// Environment: SEED [1], CASES [600], ROUND [all]: a failure names the three that play it again.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { FlowProducer, Queue, Worker } from 'bullmq';
import { inOrder, withoutOrder } from './compare.mjs';
import { eventually, processor, snapshot, startRedis, startToril } from './harness.mjs';
import { randomRound } from './random.mjs';
import { twin } from './twin.mjs';

const seed = Number(process.env.SEED ?? 1);
const cases = Number(process.env.CASES ?? 600);
const wanted = process.env.ROUND === undefined ? undefined : Number(process.env.ROUND);
/** Jobs of a queue; the children that they add come on top. */
const JOBS = 15;
/** How queues are served, in turn. */
const ways = [
  { concurrency: 1, ordered: true },
  { concurrency: 50, ordered: false },
  { concurrency: 1, ordered: false },
];

let redis;
before(async () => {
  redis = await startRedis();
});
after(() => redis.stop());

const rounds = Array.from({ length: Math.ceil(cases / JOBS) }, (_, n) => ({
  name: `random-${n}`,
  ...randomRound(seed * 100_000 + n, JOBS, ways[n % ways.length]),
})).filter((_, n) => wanted === undefined || n === wanted);

/** Adds the jobs of all queues, lets them be worked, and returns what is left of each. */
async function play(startWorkers) {
  await redis.client.flushall();
  const options = { connection: redis.connection };
  const flow = new FlowProducer(options);
  const queues = rounds.map(({ name }) => new Queue(name, options));
  await Promise.all(rounds.map((round, n) => addAll(round, queues[n], flow)));
  const workers = await startWorkers(queues, flow);
  try {
    await Promise.all(queues.map((queue) => settles(queue)));
  } finally {
    await workers.stop();
  }
  const left = await Promise.all(queues.map((queue) => snapshot(redis.client, queue.qualifiedName)));
  await Promise.all([flow.close(), ...queues.map((queue) => queue.close())]);
  return left;
}

async function addAll({ entries }, queue, flow) {
  const placed = (node) => ({ ...node, queueName: queue.name, children: node.children.map(placed) });
  for (const entry of entries) {
    if (entry.flow) await flow.add(placed(entry.flow));
    else await queue.add(entry.job.name, entry.job.data, entry.job.opts);
  }
}

/** Waits until nothing is left to do. Says what is, where that never comes. */
async function settles(queue) {
  let counts;
  const done = async () => ended((counts = await queue.getJobCounts()));
  await eventually(`${queue.name} settles`, done).catch(async (error) => {
    const jobs = await queue.getJobs(['waiting', 'active', 'delayed', 'prioritized'], 0, 3);
    const left = jobs.map((job) => `${brief(job.asJSON())} ${job.failedReason}`).join('\n');
    throw new Error(`${error.message} (SEED=${seed}): ${brief(counts)}\n${left}`);
  });
}

/** A parent whose child failed may wait for ever. */
const ended = (counts) => ['waiting', 'active', 'delayed', 'prioritized'].every((state) => !counts[state]);

function startNode(queues, flow) {
  const workers = queues.map((queue, n) =>
    new Worker(queue.name, twin({ queue, flow }), { connection: redis.connection, ...rounds[n].worker.node }));
  return { stop: () => Promise.all(workers.map((worker) => worker.close())) };
}

function startOurs(queues) {
  const sections = queues.map(({ name }, n) => [name, {
    processor: processor('fixture-scenarios'), grants: { queues: [name] }, ...rounds[n].worker.toril,
  }]);
  return startToril(redis, Object.fromEntries(sections));
}

test('random jobs leave what Node\'s Worker leaves', async (t) => {
  const expected = await play(startNode);
  const actual = await play(process.env.ORACLE_AGAINST_ITSELF ? startNode : startOurs);
  for (const [n, round] of rounds.entries()) {
    const way = `concurrency ${round.concurrency}${round.ordered ? ', in order' : ''}`;
    await t.test(`${round.name}: ${way}`, () => {
      const shown = round.ordered ? inOrder : withoutOrder;
      const differences = difference(shown(actual[n]), shown(expected[n]));
      if (differences.length === 0) return;
      const replay = `SEED=${seed} CASES=${cases} ROUND=${wanted ?? n} node --test differential.test.mjs`;
      assert.fail(`replay: ${replay}\nworker: ${JSON.stringify(round.worker.node)}\nours instead of theirs:\n${differences.slice(0, 20).join('\n')}`);
    });
  }
});

/** The first places where two values differ, ours first. */
function difference(ours, theirs, path = '') {
  const plain = (value) => typeof value !== 'object' || value === null;
  if (plain(ours) || plain(theirs)) {
    return Object.is(ours, theirs) ? [] : [`  ${path}: ${brief(ours)} instead of ${brief(theirs)}`];
  }
  const keys = new Set([...Object.keys(ours), ...Object.keys(theirs)]);
  return [...keys].flatMap((key) => difference(ours[key], theirs[key], path ? `${path}.${key}` : key));
}

/** Short, and without letters on which test reporters choke. */
const brief = (value) => (JSON.stringify(value) ?? 'nothing').replaceAll(/[^\x20-\x7e]/g, '?').slice(0, 300);
