// The oracle: the same scenario through Node's Worker and through ours leaves the same keys.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { FlowProducer, Queue, Worker } from 'bullmq';
import { eventually, processor, snapshot, startRedis, startToril } from './harness.mjs';
import { QUEUE, idle, scenarios, twin } from './scenarios.mjs';

let redis;
before(async () => {
  redis = await startRedis();
});
after(() => redis.stop());

async function play(scenario, startWorker) {
  await redis.client.flushall();
  const options = { connection: redis.connection };
  const queue = new Queue(QUEUE, options);
  const flow = new FlowProducer(options);
  await queue.waitUntilReady();
  await scenario.add({ queue, flow });
  const worker = await startWorker({ queue, flow });
  try {
    const settled = scenario.settled ?? idle;
    await eventually(`${scenario.name} settles`, async () => settled(await queue.getJobCounts()));
  } finally {
    await worker.stop();
  }
  const left = await snapshot(redis.client, queue.qualifiedName);
  for (const key of scenario.ignore ?? []) delete left[key];
  await Promise.all([queue.close(), flow.close()]);
  return left;
}

function startNode(scenario, producers) {
  const worker = new Worker(QUEUE, twin(producers), { connection: redis.connection, ...scenario.node });
  return { stop: () => worker.close() };
}

function startOurs(scenario) {
  const grants = { queues: [QUEUE] };
  const queue = { processor: processor('fixture-scenarios'), concurrency: 1, grants, ...scenario.toril };
  return startToril(redis, { [QUEUE]: queue });
}

for (const scenario of scenarios) {
  test(scenario.name, async () => {
    const expected = await play(scenario, (producers) => startNode(scenario, producers));
    const actual = await play(scenario, () => startOurs(scenario));
    assert.deepEqual(actual, expected);
  });
}
