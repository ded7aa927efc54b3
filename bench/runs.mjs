// How peers are run beside each other: interleaved, over the same jobs, with the clocks of worker and Redis.

import { completed, cpu, medians, redisCpu, redisWork, rounded, until } from './measure.mjs';
import { stop } from './peers.mjs';

/** Counted from here on: starting up is not what is measured. */
export const WARM = 100;

export const tell = (text) => console.error(text);

/** Runs `action` for each case, `rounds` times, interleaved; returns the medians by case. `runs` gets each run. */
export async function interleaved(rounds, cases, action, runs = {}) {
  for (let round = 1; round <= rounds; round++) {
    // There and back: none is always the one that follows the same other.
    for (const name of round % 2 ? cases : [...cases].reverse()) {
      const result = await action(name);
      (runs[name] ??= []).push(result);
      const shown = Object.entries(result).map(([key, value]) => `${key} ${rounded(value)}`).join(', ');
      tell(`round ${round} of ${rounds}: ${name}: ${shown}`);
    }
  }
  return Object.fromEntries(Object.entries(runs).map(([name, some]) => [name, medians(some)]));
}

/** Jobs that are completed; fails where a job failed or a worker ended, since then nobody's time means anything. */
async function ended(redis, children) {
  if (children.some((child) => child.exitCode !== null)) throw new Error('a worker ended by itself');
  const [failed] = await redis.zrange('bull:bench:failed', 0, 0);
  if (failed) throw new Error(`job ${failed} failed: ${await redis.hget(`bull:bench:${failed}`, 'failedReason')}`);
  return completed(redis);
}

/** Starts workers and lets them run until `count` more jobs are completed; ends them. */
export async function work({ redis }, startAll, count) {
  const start = await completed(redis);
  const children = startAll();
  await until('the first jobs complete', async () => (await ended(redis, children)) >= start + WARM);
  const workers = () => children.reduce((sum, child) => sum + cpu(child.pid), 0);
  const [workBefore, from, begin, workerFrom, redisFrom] =
    [await redisWork(redis), await completed(redis), Date.now(), workers(), await redisCpu(redis)];
  // Asked seldom, since asking takes from the two cores that are measured: the jobs say when the last one ended.
  await until('all jobs complete', async () => (await ended(redis, children)) >= start + count, 20);
  const [, end] = await redis.zrange('bull:bench:completed', 0, 0, 'REV', 'WITHSCORES');
  const micros = (Number(end) - begin) * 1e3;
  const [workerMicros, redisMicros, done] = [workers() - workerFrom, (await redisCpu(redis)) - redisFrom, (await completed(redis)) - from];
  const work = await redisWork(redis);
  await Promise.all(children.map(stop));
  return {
    jobsPerSecond: done / micros * 1e6,
    workerCpuMicros: workerMicros / done,
    redisCpuMicros: redisMicros / done,
    redisScriptMicros: (work.micros - workBefore.micros) / done,
    redisCommands: (work.commands - workBefore.commands) / done,
    redisBusy: redisMicros / micros,
  };
}

/** Figures by `PEER cCONCURRENCY`, as figures by peer and concurrency. */
export function byPeer(figures) {
  const results = {};
  for (const [name, figure] of Object.entries(figures)) {
    const [peer, c] = name.split(' c');
    (results[peer] ??= {})[c] = figure;
  }
  return results;
}
