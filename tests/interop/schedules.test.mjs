// When the jobs of schedulers are due: what our code computes and what BullMQ computes, on the same patterns, zones,
// times and options. Ours is `host/queue/examples/schedules.rs`, which `cargo test --release` builds.
//
// Environment: SEED [1], CASES [2000].
import { after, before, mock, test } from 'node:test';
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { Job, JobScheduler, getNextMillis } from 'bullmq';
import { schedulers } from './cron-cases.mjs';
import { startRedis, target } from './harness.mjs';

const seed = Number(process.env.SEED ?? 1);
const cases = Number(process.env.CASES ?? 2000);
const LENGTH = 8;
/** Computing times takes Node long: so many processes share it. */
const PARTS = availableParallelism();
// A machine whose clock is changed; processes of this test have it, too.
process.env.TZ = 'America/Chicago';

/** Ours, for many questions at once. */
async function ours(questions) {
  const child = spawn(join(target, 'release/examples/schedules'), { stdio: ['pipe', 'pipe', 'inherit'] });
  child.stdin.end(JSON.stringify(questions));
  return JSON.parse(await text(child.stdout));
}

async function chains(part) {
  const args = ['cron-chains.mjs', seed, cases, part, PARTS, LENGTH].map(String);
  const child = spawn(process.execPath, args, { cwd: import.meta.dirname, stdio: ['ignore', 'pipe', 'inherit'] });
  return JSON.parse(await text(child.stdout));
}

/**
 * BullMQ's results are nonsense where a clock goes back within an hour: on Lord Howe and the Chatham Islands. Its search
 * finds a time that has passed, so that jobs run one after the other for as long as that hour takes, or it goes round in
 * a circle until it gives up, and the scheduler ends.
 */
const LOSING = ['Australia/Lord_Howe', 'Pacific/Chatham'];

test(`${cases} patterns have the times that BullMQ computes, or are refused as there`, async () => {
  const computed = (await Promise.all(Array.from({ length: PARTS }, (_, part) => chains(part)))).flat();
  const answers = await ours(computed.map(({ question }) => ({ ...question, length: LENGTH })));
  for (const [n, { question, theirs }] of computed.entries()) {
    const { times, refused } = answers[n];
    const told = `${JSON.stringify(question)}: ${refused ?? times}`;
    if (theirs.lost) {
      assert.ok(LOSING.includes(question.tz) && goesOn(times), told);
      times.length = theirs.times.length;
    }
    assert.deepEqual(times ?? 'refused', theirs.times ?? 'refused', told);
  }
  const valid = computed.filter(({ theirs }) => !theirs.refused && !theirs.lost).length;
  assert.ok(computed.length === cases && valid > cases * 0.8, `${valid} of ${computed.length} patterns are compared`);
});

function goesOn(times) {
  return times.length === LENGTH && times.every((time, n) => n === 0 || time > times[n - 1]);
}

test('a schedule goes on where BullMQ loses it', async () => {
  const date = Date.parse;
  // BullMQ takes seconds to find nothing.
  const howe = { pattern: '5 4 * * *', tz: LOSING[0], start: date('2026-04-04T13:40Z') };
  const chatham = { pattern: '*/20 * * * *', tz: LOSING[1], start: date('2026-04-04T13:05Z') };
  const answers = await ours([howe, chatham].map((question) => ({ ...question, length: 3 })));
  assert.deepEqual(answers[0].times, ['04T17:35Z', '05T17:35Z', '06T17:35Z'].map((day) => date(`2026-04-${day}`)));
  // 02:50, 03:05, 03:25, and at 03:45 it is 02:45.
  assert.ok(getNextMillis(chatham.start, chatham) < chatham.start);
  assert.deepEqual(answers[1].times, ['13:15', '13:35', '13:55'].map((time) => date(`2026-04-04T${time}Z`)));
});

let redis;
before(async () => {
  redis = await startRedis();
});
after(() => redis.stop());

test('the next jobs of schedulers have the time and the options that BullMQ gives them', async () => {
  const scheduler = new JobScheduler('q', { connection: redis.connection });
  await scheduler.waitUntilReady();
  const steps = [];
  for (const one of schedulers(seed, 150)) steps.push(...(await live(scheduler, one)));
  await scheduler.close();
  const answers = await ours(steps.map(({ question }) => question));
  for (const [n, { question, theirs }] of steps.entries()) {
    const answer = answers[n]?.refused ? 'refused' : answers[n];
    assert.deepEqual(answer, theirs, JSON.stringify(question));
  }
  const ends = steps.filter(({ theirs }) => theirs === null).length;
  assert.ok(steps.length > 600 && ends > 20, `${steps.length} steps, ${ends} ends`);
});

/** Creates a scheduler and picks its jobs up, some of them late; returns the state at each and what followed it. */
async function live(scheduler, { id, repeat, opts, change, begin, late }) {
  await redis.client.flushall();
  mock.timers.enable({ apis: ['Date'], now: begin });
  const steps = [];
  try {
    await scheduler.upsertJobScheduler(id, repeat, 'n', { a: 1 }, opts, { override: true });
    for (const delay of late) {
      const before = await state(id);
      if (!before) return steps;
      Object.assign(before.opts.repeat, change);
      const question = { ...before, now: Math.max(Date.now(), before.current + delay) };
      mock.timers.setTime(question.now);
      steps.push({ question, theirs: await pickUp(scheduler, question) });
      const { theirs } = steps.at(-1);
      if (theirs === null || theirs === 'refused') return steps;
    }
    return steps;
  } finally {
    mock.timers.reset();
  }
}

/** A scheduler's newest job; undefined where it has none. */
async function state(id) {
  const at = await redis.client.zscore('bull:q:repeat', id);
  const opts = at && (await redis.client.hget(`bull:q:repeat:${id}:${at}`, 'opts'));
  if (!opts) return undefined;
  const hash = await redis.client.hgetall(`bull:q:repeat:${id}`);
  const stored = Object.fromEntries(['every', 'offset'].filter((name) => hash[name]).map((name) => [name, Number(hash[name])]));
  return { scheduler: id, current: Number(at), opts: JSON.parse(opts), stored };
}

/** What Node's worker does for a job of a scheduler before it runs. */
async function pickUp(scheduler, { scheduler: id, current, opts }) {
  const producerId = `repeat:${id}:${current}`;
  await redis.client.hset(`bull:q:${producerId}`, 'opts', JSON.stringify(opts));
  const job = await Job.fromId(scheduler, producerId);
  try {
    const options = { override: false, producerId };
    const added = await scheduler.upsertJobScheduler(id, job.opts.repeat, job.name, job.data, job.opts, options);
    if (!added) return null;
  } catch {
    return 'refused';
  }
  const next = await state(id);
  return { at: next.current, opts: next.opts };
}
