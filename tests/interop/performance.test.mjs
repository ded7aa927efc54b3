// Toril stays ahead of BullMQ's own worker. Ratios of one interleaved run and counts of commands, with room for a
// noisy machine: what `make bench` shows is well above.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { flows, latency, throughput } from '../../bench/sections.mjs';

const ratio = (ours, theirs, figure) => ours[figure] / theirs[figure];

test('a job costs less than in BullMQ\'s own worker', async () => {
  const wanted = ['toril', 'toril-reuse', 'node-inline'];
  const results = await throughput({ rounds: 3, jobs: 6000, concurrencies: [50], wanted });
  const [fresh, reuse, node] = wanted.map((name) => results[name][50]);
  assert.ok(ratio(fresh, node, 'jobsPerSecond') > 2, `fresh: ${JSON.stringify({ fresh, node })}`);
  assert.ok(ratio(reuse, node, 'jobsPerSecond') > 2.2, `reuse: ${JSON.stringify({ reuse, node })}`);
  assert.ok(ratio(fresh, node, 'workerCpuMicros') < 0.5, `processor time: ${JSON.stringify({ fresh, node })}`);
  assert.ok(ratio(fresh, node, 'redisScriptMicros') < 0.5, `time in scripts: ${JSON.stringify({ fresh, node })}`);
  // Eight for each job and fourteen for each call, of which there is one for every 10 to 25 jobs.
  assert.ok(fresh.redisCommands < 9.5, `commands: ${fresh.redisCommands}`);
});

test('a child of a flow costs less than in BullMQ\'s own worker', async () => {
  const { families } = await flows({ rounds: 1, children: [] });
  const [fresh, node] = [families.toril, families['node-inline']];
  assert.ok(ratio(fresh, node, 'jobsPerSecond') > 1.1, JSON.stringify({ fresh, node }));
  assert.ok(fresh.redisCommands < 14, `commands: ${fresh.redisCommands}`);
});

test('a single job on an idle queue is not done later than by BullMQ\'s own worker', async () => {
  const results = await latency({ rounds: 3, wanted: ['toril', 'node-inline'] });
  assert.ok(results.toril.p50Ms < 1.3 * results['node-inline'].p50Ms, JSON.stringify(results));
});
