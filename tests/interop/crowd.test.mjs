// The oracle's scenarios once more, many copies of each at once and 50 jobs side by side: what Node settles one by one
// we settle in batches, and the same must be left.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { FlowProducer, Queue, Worker } from 'bullmq';
import { byOrigin, keptByRules, states, withoutOrder } from './compare.mjs';
import { eventually, processor, snapshot, startRedis, startToril } from './harness.mjs';
import { QUEUE, idle, scenarios } from './scenarios.mjs';
import { twin } from './twin.mjs';

const COPIES = 20;
const CONCURRENCY = 50;

let redis;
before(async () => {
  redis = await startRedis();
});
after(() => redis.stop());

/** Producers that give everything with a name of its own another one in each copy. */
function copyOf({ queue, flow }, copy) {
  const own = (id) => (id === undefined ? id : `${id}-${copy}`);
  const options = (opts = {}) => ({
    ...opts,
    ...(opts.jobId && { jobId: own(opts.jobId) }),
    ...(opts.deduplication && { deduplication: { ...opts.deduplication, id: own(opts.deduplication.id) } }),
  });
  const data = (value) => (value?.deduplication ? { ...value, deduplication: own(value.deduplication) } : value);
  const node = ({ children, ...rest }) => ({ ...rest, opts: options(rest.opts), ...(children && { children: children.map(node) }) });
  return {
    queue: {
      add: (name, value, opts) => queue.add(name, data(value), options(opts)),
      addBulk: (jobs) => queue.addBulk(jobs.map((job) => ({ ...job, opts: options(job.opts) }))),
      upsertJobScheduler: (id, ...rest) => queue.upsertJobScheduler(own(id), ...rest),
      removeJobScheduler: (id) => queue.removeJobScheduler(own(id)),
    },
    flow: { add: (tree) => flow.add(node(tree)) },
  };
}

async function play(scenario, startWorker, copies = COPIES) {
  await redis.client.flushall();
  const options = { connection: redis.connection };
  const queue = new Queue(QUEUE, options);
  const flow = new FlowProducer(options);
  await queue.waitUntilReady();
  for (let copy = 0; copy < copies; copy += 1) await scenario.add(copyOf({ queue, flow }, copy));
  const worker = await startWorker({ queue, flow });
  const settled = scenario.settled ?? idle;
  const share = (counts) => Object.fromEntries(Object.entries(counts).map(([state, count]) => [state, count / copies]));
  try {
    await eventually(`${scenario.name} settles`, async () => settled(share(await queue.getJobCounts())));
  } finally {
    await worker.stop();
  }
  const left = await snapshot(redis.client, queue.qualifiedName);
  for (const key of scenario.ignore ?? []) delete left[key];
  await Promise.all([queue.close(), flow.close()]);
  return left;
}

function startNode(scenario, producers) {
  const options = { connection: redis.connection, ...scenario.node, concurrency: CONCURRENCY };
  const worker = new Worker(QUEUE, twin(producers), options);
  return { stop: () => worker.close() };
}

function startOurs(scenario) {
  const grants = { queues: [QUEUE] };
  const queue = { processor: processor('fixture-scenarios'), grants, ...scenario.toril, concurrency: CONCURRENCY };
  return startToril(redis, { [QUEUE]: queue });
}

/** What can be compared depends on what the order between jobs decides. */
const comparisons = {
  undefined: withoutOrder,
  origin: (left) => byOrigin(withoutOrder(left)),
  states,
};

for (const scenario of scenarios.filter(({ crowd }) => crowd !== 'alone')) {
  test(scenario.name, async () => {
    const expected = await play(scenario, (producers) => startNode(scenario, producers));
    const ours = process.env.ORACLE_AGAINST_ITSELF ? (producers) => startNode(scenario, producers) : () => startOurs(scenario);
    const actual = await play(scenario, ours);
    const compared = comparisons[scenario.crowd];
    assert.deepEqual(compared(actual), compared(expected));
  });
}

test('rules of retention that differ from job to job leave as many jobs as when they end one by one', async () => {
  const rules = [1, 2, 7, false, false, true];
  const jobs = Array.from({ length: 400 }, (_, n) => {
    const name = n % 3 === 0 ? 'fail' : 'return';
    const rule = rules[n % rules.length];
    return [name, { jobId: `job-${n}`, removeOnComplete: rule, removeOnFail: rule }];
  });
  const ruleOf = (id) => {
    // In a copy, ids have the number of the copy at their end.
    const rule = rules[id.split('-')[1] % rules.length];
    return rule === true ? 0 : rule || Infinity;
  };
  const scenario = {
    name: 'rules that differ',
    add: ({ queue }) => queue.addBulk(jobs.map(([name, opts]) => ({ name, data: {}, opts }))),
  };
  const starts = { theirs: (producers) => startNode(scenario, producers), ours: () => startOurs(scenario) };
  for (const [whose, start] of Object.entries(starts)) {
    const left = await play(scenario, start, 1);
    const kept = { completed: left.completed?.length ?? 0, failed: left.failed?.length ?? 0 };
    assert.deepEqual({ whose, ...kept }, { whose, ...keptByRules(left.events, ruleOf) });
  }
});
