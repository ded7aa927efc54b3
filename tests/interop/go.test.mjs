// Processors in Go: BullMQ's worked examples, what a processor may do, how its errors read, and what it must not do.
import { after, before, beforeEach, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { build, component, PATIENCE_MS, skipped } from './go.mjs';
import { eventually, oneAtATime, run as command, served as servedWith, startRedis } from './harness.mjs';
import { workedExamples } from './worked-examples.mjs';

const skip = await skipped();
const timeout = 20 * 60_000;

let redis;
before(async () => {
  redis = await startRedis();
});
after(() => redis.stop());
beforeEach(() => redis.client.flushall());

/** Serves a package on some queues while `body` runs. */
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

describe('worked examples', { skip, timeout }, () => {
  const example = (name, queues, body, options) => served(`examples/go/${name}`, queues, body, options);
  workedExamples(example, { redis: () => redis, first: 0 });
});

describe('what a processor may do', { skip, timeout }, () => {
  const features = (body, options = {}) =>
    served('tests/fixtures/go/features', ['features'], body, { ...options, grants: { queues: ['features', 'others'], ...options.grants } });

  test('a job has the fields that BullMQ has', () =>
    features(async ({ run }) => {
      const opts = { attempts: 3, backoff: { type: 'fixed', delay: 5 }, keepLogs: 7, deduplication: { id: 'once' }, priority: 2 };
      const data = { text: 'ä\u{1F600}', numbers: [1, 2.5], nothing: null };
      const { opts: stored, ...seen } = await run('fields', data, opts);
      assert.deepEqual([stored.attempts, stored.kl, stored.de], [3, 7, { id: 'once' }]);
      assert.deepEqual(seen, {
        id: '1', name: 'fields', data, queueName: 'features', queueQualifiedName: 'bull:features', prefix: 'bull',
        attemptsMade: 0, attemptsStarted: 1, delay: 0, priority: 2, progress: 0, parentKey: '', parent: '', repeatJobKey: '',
        stalledCounter: 0, failedReason: '', deduplicationId: 'once', stacktrace: [], recent: [true, true], cancelled: false,
      });
    }));

  test('a number beyond a double is the largest one', () =>
    features(async ({ queue, finished }) => {
      const job = await queue.add('numbers', {}, { delay: 3_600_000 });
      const data = String.raw`{"a":[1e400,-1.5E+309,${'9'.repeat(400)}],"\"1e400":"1e400\\","b":-7.5}`;
      await redis.client.hset(queue.toKey(job.id), 'data', data);
      await job.promote();
      const largest = Number.MAX_VALUE;
      assert.deepEqual(await finished(job), { a: [largest, -largest, largest], '"1e400': '1e400\\', b: -7.5 });
    }));

  test('goroutines and timers run side by side', () =>
    features(async ({ run }) => {
      const { together, ...seen } = await run('pauses');
      assert.deepEqual(seen, { order: ['a', 'b', 'c'], late: 'context deadline exceeded' });
      // One after the other they take 4 s.
      assert.ok(together >= 199 && together < 4000, `20 pauses of 200 ms took ${together} ms`);
    }));

  test('more garbage than there is memory is collected', () =>
    features(async ({ run }) => assert.equal(await run('garbage', { text: 'x'.repeat(20_000) }), true), {
      limits: { memory_bytes_max: 64 << 20 },
    }));

  test('other jobs, schedulers and flows are reached as far as they are granted', () =>
    features(async ({ run }) => {
      const { counts, tree, ...seen } = await run('other-jobs');
      assert.deepEqual(seen, {
        added: 'mine', states: ['waiting', 'prioritized', 'delayed'], next: true, schedulers: 1, gone: [true, false],
        flow: ['root', 'bull:others:root', 'leaf'], denied: [true, 'processor of queue `features` may not use queue `vault`\nhint: add `vault` to `grants.queues` of `features`'], errors: [true, true],
      });
      assert.deepEqual([counts.waiting, counts.delayed, counts.prioritized], [2, 0, 1]);
      assert.deepEqual([tree.name, tree.children[0].id], ['root', 'leaf'], JSON.stringify(tree));
    }));

  test('what a step has done, a later attempt does not do again', () =>
    features(async ({ queue, finished }) => {
      const job = await queue.add('steps', {}, { attempts: 2 });
      const { twice, ...seen } = await finished(job);
      assert.deepEqual(seen, {
        first: { Attempt: 1 }, place: [2, true, 2], part: 'part', broken: 'no feature is called broken',
      });
      assert.equal(twice[0], true);
      assert.match(twice[1], /two steps of this attempt are named `once`/);
      assert.deepEqual((await queue.getJobLogs(job.id)).logs, ['once', 'row 0', 'row 1']);
      const { attemptsMade, attemptsStarted } = await queue.getJob(job.id);
      assert.deepEqual([attemptsMade, attemptsStarted], [2, 4]);
    }, oneAtATime));

  test('logs go where they belong', () =>
    features(async ({ queue, run, host }) => {
      assert.equal(await run('logs'), 1);
      assert.deepEqual((await queue.getJobLogs('1')).logs, ['for the dashboard']);
      for (const line of [/INFO guest: informed id=1 /, /ERROR guest: spilled wall=7 paint.color=red /, /INFO guest: logged /,
        /INFO guest: one line /, /INFO guest: another line /,
        /INFO guest: printed .*source="stdout"/]) {
        await eventually(`the log has ${line}`, () => line.test(host.log()));
      }
      assert.deepEqual(await run('progress'), [{ percent: 50 }, { seen: true }]);
      assert.deepEqual((await queue.getJob('2')).progress, { percent: 50 });
    }));

  test('texts are stored as JavaScript stores them, and no parent is null', () =>
    features(async ({ queue, run }) => {
      assert.deepEqual(await run('stored'), ['<b>&</b>', null]);
      const { data, progress, returnvalue } = await redis.client.hgetall(queue.toKey('1'));
      assert.deepEqual([data, progress, returnvalue], ['"<b>&</b>"', '{"text":"<b>&</b>"}', '["<b>&</b>",null]']);
    }));

  test('a time zone that only the data names is there', () =>
    features(async ({ run }) => assert.equal(await run('zoned', 'Europe/Berlin'), '2026-07-01T12:00:00+02:00')));

  test('only what is granted is in the environment, and nothing when it is built', () =>
    features(async ({ run }) => assert.deepEqual(await run('environment'), [['COLOR=red'], 'red', '']), {
      grants: { env: { COLOR: 'red' } },
    }));

  test('a context ends when the job should stop', () =>
    features(async ({ run }) => {
      const [cause, error] = await run('cancelled');
      assert.match(cause, /deadline/);
      assert.equal(error, 'context canceled');
      // It looks every 100 ms, and has to see the last tenth of its time.
    }, { limits: { deadline_ms: 5000 } }));

  test('no two jobs share random numbers, the order of maps or state', () =>
    features(async ({ queue }) => {
      const count = Number(process.env.RANDOM_JOBS ?? 10_000);
      const begin = Date.now();
      for (let n = 0; n < count; n += 1000) {
        await queue.addBulk(Array.from({ length: Math.min(1000, count - n) }, () => ({ name: 'identity', data: {} })));
      }
      await eventually('all jobs complete', async () => (await queue.getCompletedCount()) === count, 120_000);
      const seen = Array.from({ length: 6 }, () => new Set());
      for (const job of await queue.getCompleted(0, -1)) job.returnvalue.forEach((value, n) => seen[n].add(value));
      const [numbers, ids, orders, counts, fixed, times] = seen;
      assert.deepEqual([numbers.size, ids.size], [count, count]);
      assert.ok(orders.size > count / 100, `${orders.size} orders`);
      assert.deepEqual([[...counts], fixed.size], [[1], 1], 'what is seeded on purpose repeats itself');
      assert.ok([...times].every((time) => time >= begin - 1000 && time <= Date.now() + 1000));
    }, { concurrency: 50 }));

  test('60,000 jobs of all sizes, in instances that are reused, end without a trap', () =>
    features(async ({ queue }) => {
      const count = Number(process.env.GO_JOBS ?? 60_000);
      const texts = [10, 1000, 30_000, 300_000].map((length) => 'ä'.repeat(length / 2));
      const job = (n) => (n % 200 === 0 ? { name: 'echo', data: texts[3] } : { name: 'echo', data: texts[n % 20 === 0 ? 2 : n % 2] });
      for (let n = 0; n < count; n += 1000) {
        const jobs = Array.from({ length: Math.min(1000, count - n) }, (_, i) => ({ ...job(n + i), opts: { removeOnComplete: true } }));
        await queue.addBulk(jobs);
        await eventually('they end', async () => (await queue.getJobCountByTypes('wait', 'active')) < 500, 120_000);
      }
      await eventually('all end', async () => (await queue.getJobCountByTypes('wait', 'active', 'delayed')) === 0, 120_000);
      assert.equal(await queue.getFailedCount(), 0, (await queue.getFailed(0, 0))[0]?.failedReason);
    }, { concurrency: 20, reuse: { jobs: 10_000 }, limits: { value_bytes_max: 1 << 20 } }));

  test('an instance that is reused keeps its state, also where a goroutine was left', () =>
    features(async ({ run, finished, queue }) => {
      const seen = [];
      for (let n = 0; n < 3; n++) {
        await run('leaves');
        seen.push((await run('identity'))[3]);
      }
      assert.deepEqual(seen, [1, 2, 3]);
      await Promise.all((await queue.addBulk([{ name: 'wait', data: 20 }, { name: 'pauses', data: {} }])).map((job) => finished(job)));
    }, { concurrency: 1, reuse: { jobs: 1000 } }));
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
    '/stuck': (request, response) => response.write('some'),
    '/broken': (request, response) => response.socket.destroy(),
    '/large': (request, response) => response.end('x'.repeat(3_000_000)),
    '/cut': (request, response) => response.writeHead(200, { 'content-length': 100 }).write('some', () => response.socket.destroy()),
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

describe('requests', { skip, timeout }, () => {
  let site;
  before(async () => {
    site = await web();
  });
  after(() => site.close());
  const requests = (body, options = {}) =>
    served('tests/fixtures/go/requests', ['requests'], body, { grants: { http: site.grant }, ...options });

  test('requests run side by side, and are what they should be', () =>
    requests(async ({ run }) => {
      const { texts } = await run('together', site.url);
      assert.deepEqual(texts, Array.from({ length: 10 }, (_, n) => `slow ${n}`));
      const { posted, streamed, ...seen } = await run('send', site.url);
      assert.deepEqual([posted.method, posted.type, posted.mine, posted.authorization],
        ['POST', 'application/json', 'yes', `Basic ${btoa('me:secret')}`]);
      assert.equal(posted.length, 300_000 + '{"text":""}'.length);
      assert.deepEqual([streamed.type, streamed.body], ['text/plain', 'abc']);
      const text = JSON.stringify({ method: 'GET', length: 0, body: '' });
      assert.deepEqual(seen, {
        moved: { Status: 200, Text: text, URL: '/echo' }, missing: { Status: 404, Text: 'not here', URL: '/missing' }, large: 3_000_000,
      });
      assert.deepEqual(await run('lines', site.url), ['one', 'two', 'three']);
    }));

  test('requests that fail say why, and can be given up', () =>
    requests(async ({ run }) => {
      const { took, ...seen } = await run('fails', site.url);
      assert.ok(took >= 299 && took < 10_000, `given up after ${took} ms`);
      assert.match(seen.late, /Client\.Timeout exceeded/);
      assert.match(seen.stuck, /Client\.Timeout|deadline exceeded/);
      assert.match(seen.refused, /^request to not-granted\.example:80 was refused: not in grants\.http\.hosts of queue /);
      assert.equal(seen.broken, true);
    }));

  test('an error within a response has its code', () =>
    requests(async ({ run }) => {
      const [code] = await run('cut', site.url);
      assert.equal(code, 'HTTP-response-incomplete');
    }));

  test('a response over the limit says so, with its code', () =>
    requests(
      async ({ run }) => {
        const seen = await run('too-large', site.url);
        assert.deepEqual(seen, ['HTTP-response-body-size', 'HTTP response body size exceeds limit: 100000 bytes']);
      },
      { grants: { http: { ...site.grant, response_bytes_max: 100_000 } } },
    ));

  test('an instance that is reused keeps nothing of its requests', () =>
    requests(async ({ run, finished, queue }) => {
      const jobs = Array.from({ length: 300 }, () => ({ name: 'lines', data: site.url }));
      await Promise.all((await queue.addBulk(jobs)).map((job) => finished(job, 60_000)));
      assert.deepEqual(await run('lines', site.url), ['one', 'two', 'three']);
    }, { concurrency: 5, reuse: { jobs: 1000 } }));
});

describe('what a processor must not do', { skip, timeout }, () => {
  // Only what would run for ever ends by its time: a busy machine takes long for the rest.
  const endless = ['loop', 'loop-in-goroutine', 'sleep', 'flood-log', 'flood-stdout', 'flood-job-log'];
  const limits = {
    names: Object.fromEntries(endless.map((name) => [name, { deadline_ms: 1500 }])), deadline_ms: 60_000, memory_bytes_max: 64 << 20, value_bytes_max: 1000, log_lines_max: 10, log_bytes_max: 20_000,
    progress_updates_max: 5, jobs_added_max: 7, host_calls_max: 5000, cancel_grace_ms: 100,
  };
  const file = 'tests/fixtures/go/misbehaving';
  const misbehaving = (body, options = {}) => served(file, ['ring'], body, { grants: { queues: ['ring'] }, ...options });

  test('errors and panics read as in Go', () =>
    misbehaving(async (stage) => {
      const text = (await readFile(resolve(import.meta.dirname, '../..', file, 'main.go'), 'utf8')).split('\n');
      const line = (code) => text.findIndex((each) => each.includes(code)) + 1;
      const error = await failure(stage, 'error');
      assert.deepEqual([error.failedReason, error.stacktrace], ['the roof is on fire', ['Error: the roof is on fire']]);
      const wrapped = await failure(stage, 'wrapped');
      assert.deepEqual(wrapped.stacktrace, ['Error: while painting: no colour\n    caused by: no colour']);
      const panic = await failure(stage, 'panic');
      assert.equal(panic.failedReason, 'the roof is on fire');
      assert.match(panic.stacktrace[0], new RegExp(
        '^panic: the roof is on fire\n\ngoroutine \\d+ \\[running\\]:\n' +
        `main\\.fail\\(\\.\\.\\.\\)\n\tfixtures/misbehaving/main\\.go:${line('panic("the roof is on fire")')}\n` +
        `main\\.process\\(.*\\)\n\tfixtures/misbehaving/main\\.go:${line('case "panic":') + 1} \\+0x[0-9a-f]+$`,
      ));
      const other = await failure(stage, 'panic-in-goroutine');
      assert.equal(other.failedReason, 'panic: the roof is on fire');
      assert.match(other.stacktrace[0], /goroutine \d+ \[running\]:\nmain\.fail\(.*\n\tfixtures\/misbehaving\/main\.go:\d+/);
      assert.match(other.stacktrace[0], /created by main\.process in goroutine/);
      const reasons = {
        'panic-nil-map': 'assignment to entry in nil map',
        'panic-nil-pointer': 'runtime error: invalid memory address or nil pointer dereference',
        'panic-error': 'an error: file does not exist',
        'panic-for-good': 'must: not again',
        'panic-again': 'again',
      };
      const { attemptsMade } = await failure(stage, 'panic-for-good', {}, { attempts: 3 });
      assert.equal(attemptsMade, 1, 'an error keeps its meaning in a panic');
      const methods = { 'error-panics': ['(*broken).Error', /invalid memory address/], 'value-panics': ['fragile.MarshalJSON', /^fragile$/] };
      for (const [name, [method, reason]] of Object.entries(methods)) {
        const { failedReason, stacktrace } = await failure(stage, name);
        assert.match(failedReason, reason);
        assert.ok(stacktrace[0].includes(`\nmain.${method}(`), stacktrace[0]);
        assert.doesNotMatch(stacktrace[0], /toril\.\w+\(|wasm/, name);
      }
      for (const [name, reason] of Object.entries(reasons)) {
        const { failedReason, stacktrace } = await failure(stage, name);
        assert.equal(failedReason, reason, name);
        assert.match(stacktrace[0], /main\.process.*\n\tfixtures\/misbehaving\/main\.go:\d+/, name);
        assert.doesNotMatch(stacktrace[0], /toril\.(run|guarded|process)/, name);
      }
      assert.equal((await failure(stage, 'panic-index', 5)).failedReason, 'runtime error: index out of range [5] with length 0');
      assert.equal((await failure(stage, 'panic-division', 0)).failedReason, 'runtime error: integer divide by zero');
      const recursion = await failure(stage, 'overflow-stack');
      assert.match(recursion.stacktrace[0], /at main\.descend /);
      assert.equal(await stage.run('no-utf8'), 'a\ufffdb');
      assert.equal((await failure(stage, 'error-no-utf8')).failedReason, 'a\ufffdb');
    }));

  test('each way to misbehave has its own reason', () =>
    misbehaving(async (stage) => {
      const time = /^processor exceeded its time limit of 1500 ms for jobs named `[a-z-]+`$/;
      const memory = /^processor exceeded its memory limit of 67108864 bytes$/;
      const deadlock = /^fatal error: all goroutines are asleep - deadlock!$/;
      const reasons = [
        ['loop', {}, time],
        ['loop-in-goroutine', {}, time],
        ['sleep', 3_600_000, time],
        ['overflow-stack', {}, /^wasm trap: call stack exhausted$/],
        ['overflow-json', {}, /^json: unsupported value: encountered a cycle via \*main\.tree$/],
        ['allocate', {}, memory],
        ['flood-goroutines', {}, memory],
        ['deadlock', {}, deadlock],
        ['deadlock-of-all', {}, deadlock],
        ['goexit', {}, /^fatal error: no goroutines .* - deadlock!$/],
        ['exit', {}, /^processor exited with code 1$/],
        ['log-fatal', {}, /^cannot continue without paint$/],
        ['exit-well', {}, /^processor exited with code 0$/],
        ['invalid-json', {}, /^json: error calling MarshalJSON for type \*?main\.invalid: unexpected end of JSON input$/],
        ['no-json', {}, /^json: unsupported type: chan int$/],
        ['forget-to-move', {}, /^processor left with `delayed` but did not move the job/],
        ['huge-value', 2000, /^return value has 2002 bytes, more than the limit of 1000$/],
        ['huge-data', 2000, /^job data has 2002 bytes, more than the limit of 1000$/],
        ['huge-reason', 100_000, /^ä{500}$/],
        ['flood-calls', {}, /^processor exceeded its limit of 5000 host calls$/],
        ['flood-progress', {}, /^processor exceeded its limit of 5 progress updates$/],
        ['flood-queue', {}, /^processor exceeded its limit of 7 added jobs$/],
        ['read-passwd', {}, /^open \/etc\/passwd: /],
        ['list-root', {}, /^open \/: /],
        ['socket', {}, /connect: Connection refused\nhint: a processor in Go has no sockets; .* `import _ "toril\/fetch"`/],
        ['socket-among-others', {}, /^no paint\n[^]*refused\nhint: a processor in Go has no sockets/],
        ['process', {}, /executable file not found/],
        ['use-other-queue', {}, /may not use queue `vault`/],
        ['add-flow-elsewhere', {}, /may not use queue `vault`/],
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
      for (const name of ['flood-log', 'flood-stdout', 'flood-job-log']) await queue.add(name, {});
      await eventually('the flood ends', () => host.log().includes('reached its limit of log lines or bytes'));
      assert.equal(await run('fine'), 'fine');
      assert.doesNotMatch(host.log(), /line 10 /);
      assert.equal(await run('print'), 'printed');
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

describe('building', { skip, timeout }, () => {
  async function built(t, main) {
    const dir = await mkdtemp(join(tmpdir(), 'toril-go-'));
    t.after(() => rm(dir, { recursive: true }));
    const sdk = resolve(import.meta.dirname, '../../sdk/go');
    await writeFile(join(dir, 'go.mod'), `module shop\n\ngo 1.24\n\nrequire toril v0.0.0\n\nreplace toril => ${sdk}\n`);
    await writeFile(join(dir, 'main.go'), main);
    return { dir, component: await build(dir, join(dir, 'shop.wasm')) };
  }
  const program = (imports, body, before = '') =>
    `package main\n\nimport (\n\t"context"\n${imports.map((name) => `\t"${name}"\n`).join('')}\n\t"toril"\n)\n\n${before}\n\n` +
    `func main() {\n\ttoril.Serve(func(context.Context, *toril.Job) (any, error) { return 1, nil })\n${body}\n}\n`;

  const refusals = [
    ['a panic in main', program([], '\tvar walls map[string]int\n\twalls["a"] = 1'), /panic: assignment to entry in nil map\n\ngoroutine 1 .*main\.main\(\)\n\tshop\/main\.go:14/s],
    ['a main that does not end', program([], '\tselect {}'), /deadlock!/],
    ['a main that waits', program(['time'], '\ttime.Sleep(time.Second)'), /must not wait: they run while the processor is built/],
    ['a main that ends the program', program(['os'], '\tos.Exit(3)'), /`main` ended the program with code 3/],
    ['random numbers of the build', program(['crypto/rand', 'fmt'], '\tfmt.Println(rand.Text())'), /each job would get the same ones\nhint: /],
    ['a job before there is one', program([], '\ttoril.NewQueue("a").Add("b", nil)'), /`add` of `toril:processor\/producer@1.1.0` was called while the processor was built.*\nhint: /],
    ['a program that is no processor', 'package main\n\nfunc main() {}\n', /it does not export `process`\nhint: `main` calls `toril\.Serve`/],
  ];
  for (const [name, main, said] of refusals) {
    test(`${name} is refused with what to do`, async (t) => {
      await assert.rejects(built(t, main), (error) => {
        assert.match(error.stderr, said);
        return true;
      });
    });
  }

  test('the name of the program is its only argument, also before main', async (t) => {
    const main = program(['os'], '\tif len(os.Args) != 1 || name != "processor" {\n\t\tpanic(name)\n\t}', 'var name = os.Args[0]');
    await built(t, main);
  });

  test('a component holds nothing of the machine that built it, and is the same each time', async (t) => {
    const main = program(['fmt', 'os', 'time'], '\tfmt.Println("at build", seen)', 'var seen = fmt.Sprint(os.Environ(), time.Now().Unix(), os.Args)');
    process.env.SECRET_OF_THE_BUILD = 'c3VwZXItc2VjcmV0';
    t.after(() => delete process.env.SECRET_OF_THE_BUILD);
    const first = await built(t, main);
    const bytes = await readFile(first.component);
    for (const secret of ['SECRET_OF_THE_BUILD', 'c3VwZXItc2VjcmV0', first.dir, process.cwd(), process.env.PATH]) {
      assert.equal(bytes.indexOf(secret), -1, secret);
    }
    assert.ok(bytes.equals(await readFile((await built(t, main)).component)));
    assert.match(await command('check', first.component), /sdk +toril for Go 0\.1\.0/);
  });
});
