// Processors in Python: BullMQ's worked examples, what a processor may do, how its errors read, and what it must not do.
import { after, before, beforeEach, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eventually, oneAtATime, served as servedWith, startRedis } from './harness.mjs';
import { workedExamples } from './worked-examples.mjs';
import { component, ofHost, PATIENCE_MS, skipped, toril } from './python.mjs';

const skip = await skipped();

let redis;
before(async () => {
  redis = await startRedis();
});
after(() => redis.stop());
beforeEach(() => redis.client.flushall());

/** Serves a file on some queues while `body` runs. */
async function served(path, names, body, { grants, ...others } = {}) {
  const section = { processor: await component(path), grants: { queues: ['*'], ...grants }, ...others };
  return servedWith(redis, section, names, body, PATIENCE_MS);
}

/** Adds a job that fails, and returns what is stored of it. */
async function failure({ queue, finished }, name, data = {}, opts = {}) {
  const job = await queue.add(name, data, opts);
  await assert.rejects(finished(job), undefined, name);
  return queue.getJob(job.id);
}

describe('worked examples', { skip, timeout: 20 * 60_000 }, () => {
  const example = (name, queues, body, options) => served(`examples/python/${name.replaceAll('-', '_')}.py`, queues, body, options);
  workedExamples(example, { redis: () => redis, first: 1 });
});

/** A server that answers in the ways that a client meets. */
async function web() {
  const waiting = [];
  const answers = {
    // Answered when ten are there: one after the other they would wait for ever.
    '/slow': (request, response, url) => {
      waiting.push(() => response.end(`slow ${url.searchParams.get('n')}`));
      if (waiting.length === 10) for (const answer of waiting.splice(0)) answer();
    },
    '/moved': (request, response) => response.writeHead(302, { location: '/echo' }).end(),
    '/missing': (request, response) => response.writeHead(404).end('not here'),
    '/never': () => {},
    '/large': (request, response) => response.end('x'.repeat(200_000)),
    '/lines': (request, response) => {
      response.write('one\ntw');
      setTimeout(() => response.end('o\nthree'), 50);
    },
    '/echo': async (request, response) => {
      let body = '';
      for await (const chunk of request) body += chunk;
      const { 'content-type': type, authorization, 'x-mine': mine } = request.headers;
      response.end(JSON.stringify({ method: request.method, type, authorization, mine, length: body.length, body: body.slice(0, 20) }));
    },
  };
  const server = createServer((request, response) => {
    const url = new URL(request.url, 'http://any');
    answers[url.pathname](request, response, url);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const authority = `127.0.0.1:${server.address().port}`;
  return { url: `http://${authority}`, grant: { hosts: [authority], private: ['127.0.0.1'] }, close: () => (server.closeAllConnections(), server.close()) };
}

describe('what a processor may do', { skip, timeout: 20 * 60_000 }, () => {
  const file = 'tests/fixtures/python/features.py';
  let site;
  before(async () => {
    site = await web();
  });
  after(() => site.close());
  const features = (body, options = {}) =>
    served(file, ['features'], body, { ...options, grants: { http: site.grant, queues: ['features', 'others'], ...options.grants } });

  test('a job has the fields that BullMQ has', () =>
    features(async ({ queue, run }) => {
      const opts = { attempts: 3, backoff: { type: 'fixed', delay: 5 }, keepLogs: 7, deduplication: { id: 'once' }, priority: 2 };
      const seen = await run('fields', { text: 'ä\u{1F600}', numbers: [1, 2.5, -0], nothing: null }, opts);
      const { backoff, ...plain } = seen.opts;
      assert.deepEqual(backoff, { type: 'fixed', delay: 5 });
      assert.deepEqual([plain.attempts, plain.keepLogs, plain.deduplication], [3, 7, { id: 'once' }]);
      assert.deepEqual(seen.data, { text: 'ä\u{1F600}', numbers: [1, 2.5, 0], nothing: null });
      assert.deepEqual(
        [seen.id, seen.name, seen.queueName, seen.queueQualifiedName, seen.prefix, seen.attemptsMade, seen.attemptsStarted],
        ['1', 'fields', 'features', 'bull:features', 'bull', 0, 1],
      );
      assert.deepEqual([seen.priority, seen.progress, seen.deduplication_id, seen.stalledCounter], [2, 0, 'once', 0]);
      assert.deepEqual([seen.parent, seen.parentKey, seen.failedReason, seen.stacktrace, seen.returnvalue], [null, null, null, [], null]);
      assert.deepEqual(seen.recent, [true, true]);
      assert.equal(await queue.getFailedCount(), 0);
    }));

  test('a number of any size is read', () =>
    features(async ({ queue, finished }) => {
      const job = await queue.add('numbers', {}, { delay: 3_600_000 });
      const [long, longer] = ['9'.repeat(400), '9'.repeat(5000)];
      await redis.client.hset(queue.toKey(job.id), 'data', `[1e400,-1e400,${long},${longer},-${longer},7]`);
      await job.promote();
      assert.deepEqual(await finished(job), ['inf', '-inf', long, 'inf', '-inf', '7']);
    }));

  test('pauses run side by side', () =>
    features(async ({ run }) => {
      const { together, ...seen } = await run('pauses');
      assert.deepEqual(seen, { late: true, order: ['a', 'b', 'c'], queue: 'handed over', thread: 3 });
      // One after the other they take 4 s.
      assert.ok(together >= 0.19 && together < 4, `20 pauses of 0.2 s took ${together} s`);
    }));

  test('tasks that are left are cancelled, and their ends run', () =>
    features(async ({ run, host }) => {
      assert.equal(await run('leaves-tasks'), 'left');
      await eventually('the task ended', () => host.log().includes('a task that was left ended'));
    }));

  test('generators that are left run to their ends', () =>
    features(async ({ run, queue }) => {
      assert.equal(await run('generators'), 2);
      const { logs } = await queue.getJobLogs('1');
      assert.deepEqual(logs.sort(), ['one of a task closed', 'one that is held closed', 'one that was let go closed']);
    }));

  test('a look-up of a name is refused, also after one at build', () =>
    features(async ({ run }) => assert.deepEqual(await run('sockets'), [false, 'PermissionError', false])));

  test('a pool of threads runs what it is given at once', () =>
    features(async ({ run }) => {
      const refusal = 'cannot schedule new futures after shutdown';
      assert.deepEqual(await run('pools'), [[0, 2, 4], 2, "invalid literal for int() with base 10: 'x'", ['ready'], ['SystemExit(0)', 'SystemExit(1)'], refusal]);
    }));

  test('time zones and character sets that only the data names are there', () =>
    features(async ({ run }) => {
      const seen = await run('time-zones', 'Europe/Berlin');
      assert.deepEqual(seen, ['2026-07-01T12:00:00+02:00', true, "'No time zone found with key No/Where'"]);
      assert.deepEqual(await run('character-sets'), [true, ['ä.txt']]);
    }));

  test('requests run side by side, and are what they should be', () =>
    features(async ({ run }) => {
      const seen = await run('requests', site.url);
      assert.deepEqual(seen.texts, Array.from({ length: 10 }, (_, n) => `slow ${n}`));
      assert.deepEqual([seen.posted.method, seen.posted.type, seen.posted.mine], ['POST', 'application/json', 'yes']);
      assert.equal(seen.posted.length, 300_000 + '{"text":""}'.length);
      assert.deepEqual(seen.form, {
        method: 'PUT', type: 'application/x-www-form-urlencoded', authorization: `Basic ${btoa('me:secret')}`, length: 13, body: 'a=1+2&b=3&b=4',
      });
      assert.deepEqual([seen.moved[0], seen.moved[1], JSON.parse(seen.moved[2]).method], [200, '/echo', 'GET']);
      assert.deepEqual(seen.kept, [302, '/echo']);
      assert.equal(seen.raised, '/missing');
      assert.deepEqual(seen.lines, ['one', 'two', 'three']);
    }));

  test('urllib works, and a request can be given up', () =>
    features(async ({ run }) => {
      const [status, echo, missing] = await run('urllib', site.url);
      assert.deepEqual([status, JSON.parse(echo).mine, JSON.parse(echo).body, missing], [200, 'yes', 'abc', 404]);
      const seconds = await run('slow-request', site.url);
      assert.ok(seconds >= 0.29 && seconds < 10, `given up after ${seconds} s`);
      assert.equal(await run('refused'), 'internal-error');
    }));

  test('a response over the limit says so', () =>
    features(
      async ({ run }) => {
        const said = ['HTTP response body size exceeds limit: 100000 bytes', 'http-response-body-size'];
        assert.deepEqual(await run('too-large', site.url), said);
      },
      { grants: { http: { ...site.grant, response_bytes_max: 100_000 } } },
    ));

  test('imports inside of functions work', () =>
    features(async ({ run }) => assert.deepEqual(await run('later'), [2, '1/2', 2026, 'e4'])));

  test('other jobs, schedulers and flows are reached as far as they are granted', () =>
    features(async ({ run }) => {
      const seen = await run('other-jobs');
      assert.deepEqual(seen.ids, ['mine', 3, 'bull:others']);
      assert.deepEqual(seen.states, ['delayed', 'waiting', 'prioritized']);
      assert.deepEqual(seen.counts, { waiting: 2, delayed: 0, prioritized: 1 });
      assert.deepEqual([seen.found, seen.removed, seen.missing], [['mine', 'paint'], [1, 'unknown'], [null, null, 'unknown']]);
      const refusals = [
        /^Priority should be between 0 and/, /^Priority should not be float$/, /is not in the bogus state/, /^Out of range float/,
        /^Out of range float/, /`endDate` of the schedule is not a date/,
      ];
      refusals.forEach((refusal, n) => assert.match(seen.refused[n], refusal));
      assert.deepEqual(seen.scheduler, ['nightly', 'sweep', [0, 1]]);
      assert.deepEqual([seen.flow, seen.tree], [['root', 'bull:others:root'], ['root', 'leaf']]);
      assert.equal(seen.denied, 'denied');
      assert.match(seen.paused, /`Queue.pause` is not available in a processor: that is for operators/);
      assert.equal(seen.own, 'other-jobs');
    }));

  test('what a step has done, a later attempt does not do again', () =>
    features(async ({ queue, finished }) => {
      const job = await queue.add('steps', {}, { attempts: 2 });
      const { twice, ...seen } = await finished(job);
      assert.deepEqual(seen, {
        values: [{ attempt: 1 }, 2, [1, null]], place: [2, 2], part: [{ percent: 50 }, { seen: true }], broken: 'no paint',
      });
      assert.equal(twice[0], 'invalid');
      assert.match(twice[1], /two steps of this attempt are named `slow`/);
      assert.deepEqual((await queue.getJobLogs(job.id)).logs, ['slow', 'at once', 'row 0', 'row 1']);
      const { attemptsMade, attemptsStarted } = await queue.getJob(job.id);
      assert.deepEqual([attemptsMade, attemptsStarted], [2, 4]);
    }, oneAtATime));

  test('logs go where they belong', () =>
    features(async ({ queue, run, host }) => {
      assert.equal(await run('logs'), 1);
      assert.deepEqual((await queue.getJobLogs('1')).logs, ['for the dashboard']);
      for (const line of [/INFO guest: informed 1 /, /ERROR guest: divided /, /ERROR guest: {3}File "features.py", line \d+, in process/,
        /ERROR guest: ZeroDivisionError: division by zero/, /INFO guest: printed .*source="stdout"/]) {
        await eventually(`the log has ${line}`, () => line.test(host.log()));
      }
      assert.deepEqual(await run('progress'), [{ percent: 50 }, { seen: true }]);
      assert.deepEqual((await queue.getJob('2')).progress, { percent: 50 });
    }));

  test('only what is granted is in the environment', () =>
    features(
      async ({ run }) => assert.deepEqual(await run('environment'), [{ COLOR: 'red' }, null]),
      { grants: { env: { COLOR: 'red' } } },
    ));

  test('a synchronous processor gets its results without await', () =>
    served(file, ['synchronous'], async ({ run, queue }) => {
      assert.deepEqual(await run('any', site.url), [2, 3, 8, 200, [1, 4, null]]);
      assert.equal((await queue.getJob('1')).progress, 10);
    }, { grants: { http: site.grant } }));

  test('a signal tells that the job should stop', () =>
    // It looks every 100 ms, and has to see the last tenth of its time.
    features(async ({ run }) => assert.match(await run('cancelled'), /near the end of its time/), { limits: { deadline_ms: 5000 } }));

  test('no two jobs share random numbers, ids or state', () =>
    features(async ({ queue }) => {
      const count = Number(process.env.RANDOM_JOBS ?? 10_000);
      const begin = Date.now() / 1000;
      for (let n = 0; n < count; n += 1000) {
        await queue.addBulk(Array.from({ length: Math.min(1000, count - n) }, () => ({ name: 'identity', data: {} })));
      }
      await eventually('all jobs complete', async () => (await queue.getCompletedCount()) === count, 280_000);
      const seen = Array.from({ length: 7 }, () => new Set());
      for (const job of await queue.getCompleted(0, -1)) job.returnvalue.forEach((value, n) => seen[n].add(value));
      const [randoms, dice, ids, bytes, counts, fixed, times] = seen;
      assert.deepEqual([randoms, dice, ids, bytes].map((values) => values.size), [count, count, count, count]);
      assert.deepEqual([[...counts], fixed.size], [[1], 1], 'what is seeded on purpose repeats itself');
      const end = Date.now() / 1000;
      assert.ok([...times].every((time) => time >= begin - 1 && time <= end + 1));
    }, { concurrency: 50 }));

  test('an instance that is reused keeps its state, and no task or timer', () =>
    features(async ({ run, finished, queue }) => {
      const seen = [];
      for (let n = 0; n < 3; n++) {
        await run('leaves-tasks');
        seen.push((await run('identity'))[4]);
      }
      assert.deepEqual(seen, [1, 2, 3]);
      await Promise.all((await queue.addBulk([{ name: 'wait', data: 20 }, { name: 'pauses', data: {} }])).map((job) => finished(job)));
    }, { concurrency: 1, reuse: { jobs: 1000 } }));
});

describe('what a processor must not do', { skip, timeout: 20 * 60_000 }, () => {
  // Only what would run for ever ends by its time: a busy machine takes long for the rest.
  const endless = ['loop', 'loop-that-catches', 'sleep', 'block', 'flood-log', 'flood-job-log'];
  const limits = {
    names: Object.fromEntries(endless.map((name) => [name, { deadline_ms: 1500 }])), deadline_ms: 60_000, memory_bytes_max: 64 << 20, value_bytes_max: 1000, log_lines_max: 10, log_bytes_max: 20_000,
    progress_updates_max: 5, jobs_added_max: 7, host_calls_max: 5000, cancel_grace_ms: 100,
  };
  const misbehaving = (body, options = {}) =>
    served('tests/fixtures/python/misbehaving.py', ['ring'], body, { grants: { queues: ['ring'] }, ...options });

  test('errors read as in Python', () =>
    misbehaving(async (stage) => {
      const text = await readFile(join(import.meta.dirname, '../fixtures/python/misbehaving.py'), 'utf8');
      const line = (code) => text.split('\n').findIndex((each) => each.trim() === code) + 1;
      const raised = await failure(stage, 'raise');
      assert.equal(raised.failedReason, 'the roof is on fire');
      assert.deepEqual(raised.stacktrace, [
        'Traceback (most recent call last):\n' +
          `  File "misbehaving.py", line ${line('raise ValueError("the roof is on fire")')}, in process\n` +
          '    raise ValueError("the roof is on fire")\n' +
          'ValueError: the roof is on fire',
      ]);
      const chained = await failure(stage, 'chained');
      assert.equal(chained.failedReason, 'while descending');
      assert.match(chained.stacktrace[0], /TypeError: can only concatenate.*\n\nThe above exception was the direct cause/s);
      const group = await failure(stage, 'group');
      assert.match(group.stacktrace[0], /ExceptionGroup: unhandled errors in a TaskGroup.*ValueError: one of a group/s);
      const reasons = {
        'exit': 'SystemExit: 3',
        'interrupt': 'KeyboardInterrupt',
        'base-exception': 'odd',
        'no-exception': 'exceptions must derive from BaseException',
        'no-text': 'NoText',
        'interrupting-text': 'KeyboardInterrupt',
        'stop-iteration': 'coroutine raised StopIteration',
        'cancelled': 'CancelledError',
        'no-json': 'Object of type set is not JSON serializable',
        'nan': 'Out of range float values are not JSON compliant: nan',
        'thread': "can't start new thread",
        'half-a-character': 'half: \ufffd 😀',
      };
      for (const [name, reason] of Object.entries(reasons)) {
        const { failedReason, stacktrace } = await failure(stage, name);
        assert.equal(failedReason, reason, name);
        assert.match(stacktrace[0], /^Traceback \(most recent call last\):\n/, name);
        assert.doesNotMatch(stacktrace[0], /toril\/_/, name);
      }
    }));

  test('half of a character is a replacement character, and changes nothing else', () =>
    misbehaving(async (stage) => {
      const { failedReason, attemptsMade, stacktrace } = await failure(stage, 'half-a-character-for-good', {}, { attempts: 2 });
      assert.deepEqual([failedReason, attemptsMade], ['half: \ufffd', 1]);
      assert.match(stacktrace[0], /ValueError: \ufffd\n[^]*UnrecoverableError: half: \ufffd$/);
      assert.equal(await stage.run('half-a-character-elsewhere'), 'denied');
      const [job] = await stage.queue.getCompleted();
      assert.deepEqual((await stage.queue.getJobLogs(job.id)).logs, ['half: \ufffd']);
    }));

  test('each way to misbehave has its own reason', () =>
    misbehaving(async (stage) => {
      const time = /^processor exceeded its time limit of 1500 ms for jobs named `[a-z-]+`$/;
      const reasons = [
        ['loop', {}, time],
        ['loop-that-catches', {}, time],
        ['sleep', 3_600_000, time],
        ['block', 3_600_000, time],
        ['overflow-stack', {}, /^maximum recursion depth exceeded$/],
        ['overflow-native-stack', {}, /^maximum recursion depth exceeded$/],
        ['overflow-json', {}, /^wasm trap: call stack exhausted$/],
        ['allocate', {}, /^processor exceeded its memory limit of 67108864 bytes$/],
        ['never', {}, /^the processor waits for something that can never come/],
        ['abort', {}, /^wasm trap: wasm `unreachable` instruction executed/],
        ['exit-at-once', {}, /^processor exited with code 1$/],
        ['forget-to-move', {}, /^processor left with `delayed` but did not move the job/],
        ['huge-value', 2000, /^return value has 2002 bytes, more than the limit of 1000$/],
        ['huge-data', 2000, /^job data has 2002 bytes, more than the limit of 1000$/],
        ['huge-reason', 100_000, /^ä{500}$/],
        ['flood-calls', {}, /^processor exceeded its limit of 5000 host calls$/],
        ['flood-progress', {}, /^processor exceeded its limit of 5 progress updates$/],
        ['flood-empty-log', {}, /^processor exceeded its limit of 5000 host calls$/],
        ['flood-queue', {}, /^processor exceeded its limit of 7 added jobs$/],
        ['flood-flow', 7, /^processor exceeded its limit of 7 added jobs$/],
        ['read-passwd', {}, /No such file or directory/],
        ['list-root', {}, /No such file or directory/],
        ['socket', {}, /Errno/],
        ['process', {}, /wasi does not support processes/],
        ['use-other-queue', 'vault', /may not use queue `vault`/],
        ['add-flow-elsewhere', 'vault', /may not use queue `vault`/],
        ['unrecoverable', {}, /^not again$/],
        ['no-such-thing', {}, /^no misbehaviour is called no-such-thing$/],
      ];
      for (const [name, data, reason] of reasons) {
        const job = await failure(stage, name, data);
        assert.match(job.failedReason, reason, name);
      }
      assert.equal(await stage.queue.getDelayedCount(), 7, 'as many as it may add');
    }, { limits }));

  test('floods of lines end, and nobody else notices', () =>
    misbehaving(async ({ run, queue, host }) => {
      for (const name of ['flood-log', 'flood-job-log']) await queue.add(name, {});
      await eventually('the flood ends', () => host.log().includes('reached its limit of log lines or bytes'));
      assert.equal(await run('fine'), 'fine');
      assert.doesNotMatch(host.log(), /line 10 /);
    }, { limits, concurrency: 2 }));

  test('where a processor moved its job, it stays', () =>
    misbehaving(async ({ queue, run }) => {
      for (const name of ['move-then-return', 'move-twice']) {
        const job = await queue.add(name, {});
        await eventually(`${name}: the job is delayed`, async () => (await job.getState()) === 'delayed');
      }
      const { error } = await eventually('the error is noted', async () => {
        const { data } = await queue.getJob('2');
        return data.error && data;
      });
      assert.equal(error, 'job was already moved to Delayed');
      assert.equal(await run('wait'), 'waited');
      assert.equal(await run('limit'), 'limited');
      const { attemptsMade, attemptsStarted } = await queue.getJob('3');
      assert.deepEqual([attemptsMade, attemptsStarted], [1, 2], 'no attempt was spent');
    }));

  test('a time that no host can count is the longest, and one that is no number fails the job', () =>
    misbehaving(async (stage) => {
      const { failedReason } = await failure(stage, 'limit-for-no-time');
      assert.equal(failedReason, "durationMs must be a number of milliseconds, not 'soon'");
      const delayed = await stage.queue.add('delay-for-long', {});
      await eventually('it is delayed', async () => (await delayed.getState()) === 'delayed');
      await stage.queue.add('limit-for-long', {});
      await eventually('the queue is limited', async () => (await stage.queue.getRateLimitTtl()) > 1000);
      assert.equal(await stage.queue.getFailedCount(), 1);
    }));

  test('a failure after a move changes nothing: the job runs again, and spends no attempt', () =>
    misbehaving(async ({ queue }) => {
      const { id } = await queue.add('move-then-fail', {}, { attempts: 1 });
      const job = await eventually('it runs again', async () => {
        const job = await queue.getJob(id);
        return job.attemptsStarted > 2 && job;
      });
      assert.deepEqual([job.attemptsMade, job.failedReason ?? '', job.stacktrace], [0, '', []]);
    }));

  test('a job that dies between adding a child and its step adds one child', () =>
    misbehaving(async ({ run }) => {
      const values = await run('die-between-add-and-step', {}, { attempts: 2 });
      assert.deepEqual(Object.values(values), ['fine']);
    }));

  test('an unrecoverable job is not tried again, and no job sees what another left', () =>
    misbehaving(async (stage) => {
      const { attemptsMade } = await failure(stage, 'unrecoverable', {}, { attempts: 5 });
      assert.equal(attemptsMade, 1);
      assert.deepEqual([await stage.run('remember'), await stage.run('remember')], [0, 0]);
    }));
});

describe('building', { skip, timeout: 20 * 60_000 }, () => {
  /** Builds a file; returns what was said, and the component. */
  async function build(t, text, { env, flags = [] } = {}) {
    const dir = await mkdtemp(join(tmpdir(), 'toril-python-'));
    t.after(() => rm(dir, { recursive: true }));
    await writeFile(join(dir, 'shop.py'), text);
    const out = join(dir, 'shop.wasm');
    const said = await toril(['build', join(dir, 'shop.py'), '--out', out, ...flags], { env });
    return { dir, said, component: () => readFile(out) };
  }

  const refusals = [
    ['a file without a processor', 'x = 1\n', /error: no processor: define `async def process\(job, token\)`/],
    ['an error of the module', 'def half():\n    return 1 / 0\nhalf()\n', /File "shop.py", line 2, in half\n.*ZeroDivisionError/s],
    ['listeners', 'from bullmq import QueueEvents\n', /`QueueEvents` is not available in a processor: a processor hears no events/],
    ['a program that starts by itself', 'import asyncio\nfrom bullmq import Worker\nasync def main(): ...\nasyncio.run(main())\n', /guard the program's start/],
    ['a job before there is one', 'from bullmq import Queue\nQueue("a").add("b", {})\n', /while the component is built/],
  ];
  for (const [name, text, said] of refusals) {
    test(`${name} is refused with what to do`, async (t) => {
      await assert.rejects(build(t, text), (error) => {
        assert.match(error.stderr, said);
        assert.doesNotMatch(error.stderr, /Caused by|panicked|frozen importlib/);
        return true;
      });
    });
  }

  test('packages of another Python are not there', async (t) => {
    const other = await mkdtemp(join(tmpdir(), 'toril-other-python-'));
    t.after(() => rm(other, { recursive: true }));
    await writeFile(join(other, 'elsewhere.py'), 'x = 1\n');
    // Asked for its folders of packages, it names this one.
    await writeFile(join(other, 'python3'), `#!/bin/sh\necho '${other}'\n`, { mode: 0o755 });
    const env = { PATH: `${other}:${process.env.PATH}` };
    const text = 'import elsewhere\nasync def process(job, token):\n    return elsewhere.x\n';
    await assert.rejects(build(t, text, { env }), (error) => {
      assert.match(error.stderr, /File "shop.py", line 1, in <module>\n.*ModuleNotFoundError: No module named 'elsewhere'/s);
      return true;
    });
  });

  test('a compiled module is refused where it is needed, and left out where it is not', async (t) => {
    const dir = await mkdtemp(join(tmpdir(), 'toril-python-'));
    t.after(() => rm(dir, { recursive: true }));
    const files = {
      'shop.py': 'import fast\nimport slow\nasync def process(job): ...\n',
      'fast/__init__.py': 'from . import both, pack\ntry:\n    from . import speedups\nexcept ModuleNotFoundError:\n    speedups = None\n',
      'fast/speedups.abi3.so': '', 'fast/both.abi3.so': '', 'fast/both.py': '', 'fast/pack.abi3.so': '', 'fast/pack/__init__.py': '',
      'slow/__init__.py': 'from . import core\n', 'slow/core.cpython-314-x86_64-linux-gnu.so': '',
    };
    for (const name of ['fast/pack', 'slow']) await mkdir(join(dir, name), { recursive: true });
    for (const [name, text] of Object.entries(files)) await writeFile(join(dir, name), text);
    await assert.rejects(toril(['build', join(dir, 'shop.py'), '--out', join(dir, 'shop.wasm')]), ({ stderr }) => {
      assert.match(stderr, /\n {2}File "slow\/__init__\.py", line 1[^]*`slow\.core` is compiled code, which does not run in a component/);
      return true;
    });
  });

  test('the host builds and runs a file, and says what is wrong with one', async (t) => {
    const dir = await mkdtemp(join(tmpdir(), 'toril-python-'));
    t.after(() => rm(dir, { recursive: true }));
    const file = join(dir, 'shop.py');
    await writeFile(file, 'async def process(job, token):\n    return {"cost": job.data["walls"] * 100}\n');
    assert.match(await ofHost(['run', file, '--data', '{"walls":4}']), /completed: {"cost":400}/);
    await writeFile(file, 'x = 1\n');
    await assert.rejects(ofHost(['build', file]), (error) => {
      assert.match(error.stderr, /failed to build `.*shop\.py`\n +caused by: no processor: define `async def process\(job, token\)`/);
      return true;
    });
  });

  test('a component holds nothing of the machine that built it', async (t) => {
    const text = 'import os\nseen = dict(os.environ)\nasync def process(job, token):\n    return seen\n';
    const { dir, said, component: built } = await build(t, text, { env: { SECRET_OF_THE_BUILD: 'c3VwZXItc2VjcmV0' }, flags: ['--json'] });
    const bytes = await built();
    for (const secret of ['SECRET_OF_THE_BUILD', 'c3VwZXItc2VjcmV0', dir, process.cwd(), process.env.PATH]) {
     
      assert.equal(bytes.indexOf(secret), -1, secret);
    }
    const { inputs, sendsRequests, bytes: size } = JSON.parse(said);
    assert.deepEqual([inputs, sendsRequests, size], [[join(dir, 'shop.py')], false, bytes.length]);
  });
});
