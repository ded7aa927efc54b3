// The oracle: the same scenario through Node's Worker and through ours leaves the same keys.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { FlowProducer, Queue, Worker } from 'bullmq';
import { eventually, processor, run, snapshot, startRedis, startToril, target } from './harness.mjs';
import { QUEUE, idle, scenarios } from './scenarios.mjs';
import { twin } from './twin.mjs';

let redis;
before(async () => {
  redis = await startRedis();
  await run('build', join(import.meta.dirname, 'processors/twin.ts'), '--out', guests.TypeScript);
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

/** The components by language; the twin is built once. */
const guests = { Rust: processor('fixture-scenarios'), TypeScript: join(target, 'interop/twin.wasm') };

function startOurs(scenario, file) {
  const grants = { queues: [QUEUE] };
  const queue = { processor: file, concurrency: 1, grants, ...scenario.toril };
  return startToril(redis, { [QUEUE]: queue });
}

for (const scenario of scenarios) {
  test(scenario.name, async () => {
    const expected = await play(scenario, (producers) => startNode(scenario, producers));
    for (const [language, file] of Object.entries(guests)) {
      assert.deepEqual(await play(scenario, () => startOurs(scenario, file)), expected, language);
    }
  });
}
