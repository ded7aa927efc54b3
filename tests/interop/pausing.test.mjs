// Producers of BullMQ 5 and 6 pause a queue in different ways: no job that comes back meanwhile may be lost.
import { after, before, beforeEach, test } from 'node:test';
import assert from 'node:assert/strict';
import * as bullmq5 from 'bullmq5';
import * as bullmq6 from 'bullmq';
import { eventually, processor, run, startRedis, startToril } from './harness.mjs';

const QUEUE = 'pausing';
let redis;
before(async () => {
  redis = await startRedis();
});
after(() => redis.stop());
beforeEach(() => redis.client.flushall());

for (const [version, { Queue, FlowProducer }] of Object.entries({ 5: bullmq5, 6: bullmq6 })) {
  test(`jobs that come back while BullMQ ${version} has paused the queue run after its resume`, async () => {
    const { connection } = redis;
    const queue = new Queue(QUEUE, { connection });
    await queue.waitUntilReady();
    const flows = new FlowProducer({ connection });
    const guest = { processor: processor('fixture-scenarios'), concurrency: 10 };
    const host = await startToril(redis, { [QUEUE]: guest, elsewhere: guest });
    const failed = await queue.add('fail', {});
    await eventually('a job fails', async () => (await failed.getState()) === 'failed');

    for (let round = 0; round < 2; round += 1) {
      // The first round pauses with an empty line, the second one with jobs in it.
      await queue.pause();
      if (round === 1) await queue.addBulk(Array.from({ length: 5 }, () => ({ name: 'return', data: 1 })));
      await queue.addBulk(Array.from({ length: 10 }, (_, n) => ({ name: 'return', data: n, opts: { delay: 5 * n } })));
      const promoted = await queue.add('return', 1, { delay: 3_600_000 });
      await run('job', 'promote', QUEUE, promoted.id, '--redis', redis.url);
      if (round === 0) await run('job', 'retry', QUEUE, failed.id, '--redis', redis.url);
      const children = [{ name: 'return', queueName: 'elsewhere', data: 1 }];
      const { job: parent } = await flows.add({ name: 'children-values', queueName: QUEUE, children });
      await eventually('all delayed jobs and the parent are in line', async () => {
        const { delayed, 'waiting-children': waits } = await queue.getJobCounts('delayed', 'waiting-children');
        return delayed + waits === 0;
      });
      assert.match(await parent.getState(), /waiting|paused/);
      assert.equal(await queue.getActiveCount(), 0);
      await queue.resume();
      const expected = round === 0 ? 12 : 12 + 17;
      await eventually('all of them complete', async () => (await queue.getCompletedCount()) === expected);
    }
    await eventually('the job that was retried fails again', async () => (await queue.getFailedCount()) === 1);
    const counts = await queue.getJobCounts();
    assert.equal(Object.values(counts).reduce((sum, count) => sum + count), 12 + 17 + 1);
    await Promise.all([host.stop(), queue.close(), flows.close()]);
  });
}
