// What a processor in TypeScript must not get away with: the twin of `tests/fixtures/misbehaving` and of the set in Python.
import { after, before, beforeEach, test } from 'node:test';
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { readFile } from 'node:fs/promises';
import { eventually, startRedis } from './harness.mjs';
import { failure, served, source } from './scripts.mjs';

let redis;
before(async () => {
  redis = await startRedis();
});
after(() => redis.stop());
beforeEach(() => redis.client.flushall());

const late = /time limit of 1000 ms/;
// Only those have little time that use up whatever they have: the others must come to their own end.
const endless = ['loop', 'loop after a pause', 'regular expression', 'microtasks for ever', 'sleeps', 'floods the log', "floods the job's log"];
const limits = {
  deadline_ms: 15_000, memory_bytes_max: 64 << 20,
  names: Object.fromEntries(endless.map((name) => [name, { deadline_ms: 1000 }])),
};
/** Those of the set in Python. */
const small = { ...limits, value_bytes_max: 1000, log_lines_max: 10, log_bytes_max: 20_000, progress_updates_max: 5, jobs_added_max: 7, host_calls_max: 5000 };
const grants = { queues: ['ring'], http: { hosts: ['paint.example'] } };

const hostile = (body, options = {}) => served(redis, source('hostile.ts'), { limits, grants, ...options }, body);

test('each way to misbehave has its own reason', () => {
  const reasons = {
    'loop': late,
    'loop after a pause': late,
    'regular expression': /time limit of 1000 ms|interrupted/,
    'microtasks for ever': late,
    'recursion': /[Ss]tack/,
    'memory': /memory/,
    'buffers': /memory/,
    'never settles': /can never settle/,
    'rejection that nobody handles': /nobody looked/,
    'error in a timer': /in a timer/,
    'half of a character in a rejection': /^nobody looked at \ufffd\n/,
    'half of a character in a timer': /^in a timer \ufffd\n/,
    'half of a character in a step': /^in a step \ufffd\n/,
    'JSON of many levels': /^Maximum call stack size exceeded\n/,
    'value of many levels': /^Maximum call stack size exceeded\n/,
    'huge value': /return value has \d+ bytes, more than the limit/,
    'other queue': /vault/,
    'request': /fetch failed[^]*Caused by: [^]*was refused: not in grants\.http\.hosts/,
    'ends the process': /exit/,
  };
  return hostile(async (stage) => {
    for (const [kind, reason] of Object.entries(reasons)) {
      const { failedReason, stacktrace } = await failure(stage, kind);
      assert.match(`${failedReason}\n${stacktrace}`, reason, kind);
    }
    const fine = async (name) => stage.finished(await stage.queue.add(name, 1));
    assert.deepEqual(await fine('environment'), {}, 'nothing of the machine is seen');
    assert.equal(await fine('leaves its mark'), 1);
    assert.equal(await fine('leaves its mark'), 1, 'no job sees what another left');
    const { failedReason } = await failure(stage, 'sleeps', 60_000);
    assert.match(failedReason, late);
  });
});

test('the stack of a loop without an end has the line at which it was', () => {
  const loops = [['loop', 1], ['loop after a pause', 2], ['regular expression', 0]];
  // It is told in the last tenth of the time, in which the guest must run for a while.
  const names = { ...limits.names, ...Object.fromEntries(loops.map(([kind]) => [kind, { deadline_ms: 5000 }])) };
  return hostile(async (stage) => {
    const text = await readFile(source('hostile.ts'), 'utf8');
    const lineOf = (kind) => text.split('\n').findIndex((line) => line.startsWith(`  '${kind}'`)) + 1;
    for (const [kind, below] of loops) {
      const { failedReason, stacktrace } = await failure(stage, kind);
      assert.match(failedReason, /time limit of 5000 ms/, kind);
      const [place] = stacktrace[0].match(/hostile\.ts:\d+/);
      assert.equal(place, `hostile.ts:${lineOf(kind) + below}`, kind);
    }
    // One that waits when its time is up computes nowhere.
    const { stacktrace } = await failure(stage, 'sleeps', 60_000);
    assert.doesNotMatch(stacktrace[0], /hostile\.ts/);
  }, { limits: { ...limits, names } });
});

test('limits are those of other languages, and so are their reasons', () =>
  hostile(async (stage) => {
    const reasons = [
      ['huge value', {}, /^return value has 9437186 bytes, more than the limit of 1000$/],
      ['huge data', 2000, /^job data has 2002 bytes, more than the limit of 1000$/],
      ['huge reason', 100_000, /^ä{500}$/],
      ['huge stack', {}, /^with a huge stack$/],
      ['floods the host with calls', {}, /^processor exceeded its limit of 5000 host calls$/],
      ['floods progress', {}, /^processor exceeded its limit of 5 progress updates$/],
      ['floods the queue', {}, /^processor exceeded its limit of 7 added jobs$/],
      ['floods the queue at once', 8, /^processor exceeded its limit of 7 added jobs$/],
      ['floods with a flow', 7, /^processor exceeded its limit of 7 added jobs$/],
      ["floods the job's log with nothing", {}, /^processor exceeded its limit of 5000 host calls$/],
      ['other queue', {}, /may not use queue `vault`/],
      ['flow to another queue', {}, /may not use queue `vault`/],
      ['does not move', {}, /^processor left with `delayed` but did not move the job/],
      ['message that throws', {}, /^no message$/],
      ['cause of itself', {}, /^turns in a ring$/],
      ['breaks JSON', {}, /^no JSON$/],
      ['breaks promises', {}, /^no promises$/],
      ['no such thing', {}, /^not a function$/],
    ];
    for (const [name, data, reason] of reasons) {
      const job = await failure(stage, name, data);
      assert.match(job.failedReason, reason, name);
      assert.ok(job.stacktrace[0].length <= 1100, name);
    }
    assert.equal(await stage.queue.getDelayedCount(), 7, 'as many as it may add');
    assert.equal(await stage.finished(await stage.queue.add('fine', {})), 'fine', 'what one job breaks is whole in the next');
  }, { limits: small }));

test('floods of lines end, and nobody else notices', () =>
  hostile(async ({ queue, host, finished }) => {
    for (const name of ['floods the log', "floods the job's log"]) await queue.add(name, {});
    await eventually('the flood ends', () => host.log().includes('reached its limit of log lines or bytes'));
    assert.equal(await finished(await queue.add('prints', {})), 'printed');
    assert.doesNotMatch(host.log(), /line 10 |\x1b\[31m/);
  }, { limits: small, concurrency: 3 }));

test('where a processor moved its job, it stays', () =>
  hostile(async ({ queue, finished }) => {
    for (const name of ['moves, then returns', 'moves, then fails', 'moves twice']) {
      const job = await queue.add(name, {});
      await eventually(`${name}: the job is delayed`, async () => (await job.getState()) === 'delayed');
    }
    const { data } = await queue.getJob('3');
    assert.equal(data.error, 'job was already moved to Delayed');
    const job = await queue.add('is its own grandparent', {}, { jobId: 'above' });
    await finished(job).catch(() => {});
    assert.equal(await finished(await queue.add('fine', {})), 'fine');
  }));

test('many requests and timers at once end with reasons of their own', async (t) => {
  let open = 0;
  const server = createServer((_, response) => {
    open += 1;
    response.end('dry');
  }).listen(0, '127.0.0.1');
  t.after(() => server.close());
  await once(server, 'listening');
  const host = `127.0.0.1:${server.address().port}`;
  const own = { queues: ['ring'], http: { hosts: [host], private: ['127.0.0.0/8'] } };
  await hostile(async (stage) => {
    const run = async (name, data) => stage.finished(await stage.queue.add(name, data));
    assert.equal(await run('many timers', {}), 'all rang');
    const url = `http://${host}/`;
    const more = await failure(stage, 'many requests', { url, count: 200 });
    assert.match(more.failedReason, /^fetch failed$/);
    assert.match(more.stacktrace[0], /requests_max/);
    const most = await failure(stage, 'many requests', { url, count: 1100 });
    assert.equal(most.failedReason, 'processor exceeded its limit of 1024 open handles');
    assert.equal(await run('fine', {}), 'fine');
    assert.ok(open <= 200, `${open} requests came`);
  }, { grants: own });
});
