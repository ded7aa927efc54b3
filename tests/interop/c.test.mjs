// Processors in C: the worked examples, every call of the header, how attempts end, and what must not harm anybody.
import { after, before, beforeEach, test } from 'node:test';
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { tmpdir } from 'node:os';
import { FlowProducer } from 'bullmq';
import { eventually, oneAtATime, run, served as servedWith, startRedis, toril } from './harness.mjs';

const root = resolve(import.meta.dirname, '../..');
const sdk = join(root, 'sdk/c');
const command = promisify(execFile);

let redis;
let dir;
before(async () => {
  redis = await startRedis();
  dir = await mkdtemp(join(tmpdir(), 'toril-c-'));
});
after(() => Promise.all([redis.stop(), rm(dir, { recursive: true })]));
beforeEach(() => redis.client.flushall());

const clang = process.env.TORIL_CLANG ?? 'clang-19';
const warnings = ['-Wall', '-Wextra', '-Wpedantic', '-Werror'];
const env = { ...process.env, TORIL_CFLAGS: warnings.join(' ') };

const built = {};
/** The component of a file. */
function component(file) {
  return (built[file] ??= (async () => {
    const [from, to] = [join(root, file), join(dir, `${basename(file, '.c')}.wasm`)];
    await command(toril, ['build', from, '--out', to], { env });
    return to;
  })());
}

/** Serves a file on queues while `body` runs. */
const served = async (file, names, options, body) => servedWith(redis, { processor: await component(file), ...options }, names, body);

const kinds = 'tests/fixtures/c/kinds.c';

test('a program that uses no WASI imports none', async () => {
  assert.doesNotMatch(await run('check', await component('examples/c/step-job.c')), /wasi:/);
});

test('each function of the interfaces is called by a fixture', async () => {
  const called = new Set();
  for (const file of [kinds, 'tests/fixtures/c/misbehaving.c']) {
    const core = join(dir, 'core.wasm');
    const flags = ['--target=wasm32-wasi', '-mexec-model=reactor', ...warnings, '-I', sdk, '-o', core];
    await command(clang, [...flags, join(root, file), join(sdk, 'toril.c')]);
    const module = new WebAssembly.Module(await readFile(core));
    for (const { module: of, name } of WebAssembly.Module.imports(module)) called.add(`${of} ${name}`);
  }
  for (const name of ['current-job', 'producer', 'queues', 'schedulers', 'steps', 'logging']) {
    const text = await readFile(join(root, `wit/${name}.wit`), 'utf8');
    const functions = [...text.matchAll(/^ {2}%?([a-z-]+): func/gm)];
    assert.ok(functions.length > 0);
    for (const [, of] of functions) assert.ok(called.has(`toril:processor/${name}@1.1.0 ${of}`), `${name}.${of}`);
  }
});

test('the header is C++, too', () =>
  command(clang, ['-x', 'c++', '-std=c++17', '--target=wasm32-wasi', '-fsyntax-only', ...warnings, '-nostdinc++', join(sdk, 'toril.h')]));

test('step-job resumes at the step that failed', () =>
  served('examples/c/step-job.c', ['steps'], {}, async ({ queue, finished }) => {
    const job = await queue.add('job', { step: 'initial', failIn: 'second' }, { attempts: 2 });
    assert.equal(await finished(job), 'finish');
    assert.deepEqual((await queue.getJobLogs(job.id)).logs, ['initial step', 'second step']);
    await assert.rejects(finished(await queue.add('job', { step: 'third' })), /invalid step: third/);
  }));

test('step-job-with-children waits for children that it added', () =>
  served('examples/c/step-job-with-children.c', ['assembly', 'parts'], { grants: { queues: ['parts'] } }, async ({ queue, finished }) => {
    const job = await queue.add('job', {});
    assert.deepEqual(await finished(job), {
      parts: {
        [`bull:parts:assembly-${job.id}-child-1`]: { made: 'child-1' },
        [`bull:parts:assembly-${job.id}-child-2`]: { made: 'child-2' },
      },
    });
  }));

test('durable-step-job resumes at the step that failed', () =>
  served('examples/c/durable-step-job.c', ['steps'], {}, async ({ queue, finished }) => {
    const job = await queue.add('job', { failIn: 'second' }, { attempts: 2 });
    assert.equal(await finished(job), 'finish');
    assert.deepEqual((await queue.getJobLogs(job.id)).logs, ['initial step', 'second step']);
  }));

test('durable-step-job-with-children waits for children that it calls', () =>
  served('examples/c/durable-step-job-with-children.c', ['assembly', 'parts'], { grants: { queues: ['parts'] } }, async ({ run }) => {
    assert.deepEqual(await run('job'), { parts: [{ made: 'child-1' }, { made: 'child-2' }] });
  }));

test('what a step has done, a later attempt does not do again', () =>
  served(kinds, ['ring'], { grants: { queues: ['ring'] }, ...oneAtATime }, async ({ queue, finished }) => {
    const job = await queue.add('steps', {});
    const { twice, ...seen } = await finished(job);
    assert.deepEqual(seen, { once: { attempt: 1 }, null: null, place: 2, part: [1, 'part'], broken: [2, 'no paint'] });
    assert.equal(twice[0], 7);
    assert.match(twice[1], /two steps of this attempt are named `once`/);
    assert.deepEqual((await queue.getJobLogs(job.id)).logs, ['once', 'row 0', 'row 1']);
    const { attemptsMade, attemptsStarted } = await queue.getJob(job.id);
    assert.deepEqual([attemptsMade, attemptsStarted], [1, 3]);
  }));

test('a job is what BullMQ says of it', () =>
  served(kinds, ['ring'], {}, async ({ queue, finished }) => {
    const added = await queue.add('fields', { walls: 4 }, { jobId: 'wall', priority: 3, deduplication: { id: 'once' } });
    const { timestamp, processed, opts, ...rest } = await finished(added);
    const job = await queue.getJob('wall');
    assert.deepEqual([timestamp, processed, opts.de.id], [job.timestamp, job.processedOn, 'once']);
    assert.deepEqual(rest, {
      id: 'wall', queue: 'ring', qualified: 'bull:ring', data: { walls: 4 }, made: 0, started: 1, delay: 0, stalled: 0,
      scheduler: null, parentKey: null, priority: 3, progress: 0, parent: null, reason: null, stacks: 0, stack: null, deduplication: 'once', child: 'ring-wall-a-b',
    });
    const flow = new FlowProducer({ connection: redis.connection });
    const { children } = await flow.add({ name: 'nothing', queueName: 'ring', opts: { jobId: 'top' }, children: [{ name: 'fields', queueName: 'ring' }] });
    const child = await finished(children[0].job);
    await flow.close();
    assert.deepEqual([child.parentKey, child.parent.id], ['bull:ring:top', 'top']);
    await queue.upsertJobScheduler('daily', { every: 86_400_000 }, { name: 'fields', opts: { attempts: 1 } });
    const scheduled = await eventually('a job of the scheduler', async () => (await queue.getCompleted()).find((it) => it.id.startsWith('repeat:')));
    assert.deepEqual([scheduled.returnvalue.scheduler, scheduled.returnvalue.child], ['daily', `ring-${scheduled.id}-a:b`.replaceAll(':', '-')]);
    const own = await queue.add('own', {});
    const { lines, freed, code, count, removed, waits } = await finished(own);
    assert.deepEqual([lines, freed, code, removed, waits], [1, 0, 1, 0, 0]);
    assert.deepEqual(count, { failed: 0, ignored: 0, processed: 0, unprocessed: 0 });
    assert.deepEqual((await queue.getJob(own.id)).progress, { part: 0.5 });
  }));

test('other jobs are added, changed and read', () =>
  served(kinds, ['ring'], { grants: { queues: ['vat'] } }, async ({ queue, finished }) => {
    const seen = await finished(await queue.add('others', {}));
    assert.equal(seen.state, 'delayed');
    assert.equal(seen.ids, 2);
    assert.deepEqual([seen.counts.prioritized, seen.counts.waiting, seen.counts.delayed], [1, 1, 0]);
    assert.deepEqual([seen.flows[0].children[0].name, seen.flow.state, seen.removed, seen.key], ['leaf', 'prioritized', 1, 0]);
    assert.equal(seen.retried, 3);
    assert.deepEqual([seen.scheduler.key, seen.schedulers.length, seen.schedulers[0].every], ['daily', 1, 86400000]);
    assert.match(seen.next, /^repeat:daily:\d+$/);
  }));

test('texts pass as they are', () =>
  served(kinds, ['ring'], {}, async ({ queue, finished }) => {
    const texts = ['', 'a', 'é', '😀', 'a\0b', '"\\\n\r\t\b\f/', '\u2028', 'x'.repeat(100_000), '\u007f\u0080\u07ff\u0800\uffff'];
    for (const text of texts) assert.equal(await finished(await queue.add('echo', text)), text);
    await assert.rejects(finished(await queue.add('echo', 7)), /no string/);
    // Written by hand, with escapes that JavaScript does not write.
    const written = async (name, data) => {
      const job = await queue.add(name, data, { delay: 3_600_000 });
      return job;
    };
    for (const [data, value] of [['"\\u0041\\ud83d\\ude00\\/"', 'A😀/'], ['"\\ud83d\\u0041\\ude00"', '\ufffdA\ufffd']]) {
      const job = await written('echo', '');
      await redis.client.hset(`bull:ring:${job.id}`, 'data', data);
      await job.promote();
      assert.equal(await finished(job), value);
    }
    const member = async (data) => {
      const job = await written('member', {});
      await redis.client.hset(`bull:ring:${job.id}`, 'data', data);
      await job.promote();
      return finished(job);
    };
    assert.deepEqual(await member(' { "b" : {"a":1,"}":"\\"]"} , "a" : [1, {"a":2}] , "c":[[[]]] } '), [1, { a: 2 }]);
    assert.equal(await member('{"a":1,"\\u0061":2}'), 2);
    assert.equal(await member('{"aa":1}'), null);
    assert.equal(await member('["a"]'), null);
    assert.equal(await member(`{"b":${'['.repeat(100)}${']'.repeat(100)},"a":-1e3}`), -1000);
  }));

test('each way to end an attempt is BullMQ\'s', () =>
  served(kinds, ['ring'], {}, async ({ queue, finished }) => {
    const failure = async (name, opts = {}) => {
      const job = await queue.add(name, {}, opts);
      await assert.rejects(finished(job), undefined, name);
      return queue.getJob(job.id);
    };
    const failed = await failure('failed', { attempts: 2 });
    assert.deepEqual([failed.failedReason, failed.attemptsMade], ['no paint', 2]);
    const unrecoverable = await failure('unrecoverable', { attempts: 2 });
    assert.deepEqual([unrecoverable.failedReason, unrecoverable.attemptsMade], ['no walls', 1]);
    assert.deepEqual((await failure('with a stack')).stacktrace, ['at paint.c:7']);
    assert.equal((await failure('not UTF-8')).failedReason, 'caf\ufffd \ufffd\ufffd\ufffd.');
    assert.match((await failure('denied')).failedReason, /vault/);
    assert.equal(await finished(await queue.add('nothing', {})), null);
    for (const [name, value] of [['delayed', true], ['waiting', true], ['rate limited', 'later']]) {
      const job = await queue.add(name, {});
      assert.equal(await finished(job), value, name);
      const { attemptsMade, attemptsStarted } = await queue.getJob(job.id);
      assert.deepEqual([attemptsMade, attemptsStarted], [1, 2], name);
    }
  }));

test('a failed job is put back', () =>
  served(kinds, ['ring'], { grants: { queues: ['ring'] } }, async ({ queue, finished }) => {
    const failed = await queue.add('failed', {});
    await assert.rejects(finished(failed), /no paint/);
    assert.equal(await finished(await queue.add('retry', failed.id)), null);
    await eventually('it failed again', async () => (await queue.getJob(failed.id)).attemptsMade === 2);
  }));

test('an error leaves nothing behind a pointer', () =>
  served(kinds, ['ring'], {}, async ({ queue, finished }) => {
    assert.deepEqual(await finished(await queue.add('errors', {})), [5, 5, 5, 5, 0, 0, 0]);
  }));

test('the standard library has time, sleep, random numbers, granted variables and output', () =>
  served(kinds, ['ring'], { grants: { env: { COLOR: 'red' } } }, async ({ queue, host, finished }) => {
    const { now, ...rest } = await finished(await queue.add('standard library', {}));
    assert.deepEqual(rest, { slept: 1, random: 1, file: 0, color: 'red', home: null });
    assert.ok(Math.abs(now - Date.now() / 1000) < 10);
    await eventually('it is in the log', () => /not flushed, without an end/.test(host.log()) && /to stderr/.test(host.log()));
  }));

test('each way to misbehave has its own reason, and harms no other job', () => {
  // Only what would run for ever ends by its time: a busy machine takes long for the rest.
  const limits = { names: { loop: { deadline_ms: 1000 } }, deadline_ms: 60_000, memory_bytes_max: 16 << 20, host_calls_max: 100_000 };
  return served('tests/fixtures/c/misbehaving.c', ['ring'], { concurrency: 1, limits }, async ({ queue, finished, host }) => {
    const reasons = {
      'abort': /^paint\.c: the bucket is empty$/,
      'assert': /Assertion failed: walls == 4/,
      'fatal': /^out of turpentine$/,
      // WASI 0.2 knows success and failure, no other status.
      'exit': /^processor exited with code 1$/,
      'exit well': /^processor exited with code 0$/,
      'write to null': /^null pointer dereference$/,
      'read beyond': /out of bounds memory access/,
      'trap': /unreachable/,
      'divide by zero': /integer divide by zero/,
      'call another type': /indirect call type mismatch/,
      'overflow stack': /out of bounds memory access/,
      'memory': /memory limit of 16777216 bytes/,
      'malloc': /memory limit of 16777216 bytes/,
      'loop': /time limit of 1000 ms/,
      'flood calls': /limit/,
      'flood job log': /limit/,
      'broken value': /return value is not JSON/,
      'empty value': /return value is not JSON/,
      'no such end': /discriminant/,
      'forget to move': /did not move the job/,
      'broken data': /job data is not JSON/,
      'huge message': /^ +/,
    };
    for (const [name, reason] of Object.entries(reasons)) {
      const job = await queue.add(name, {});
      await assert.rejects(finished(job), undefined, name);
      assert.match((await queue.getJob(job.id)).failedReason, reason, name);
      assert.equal(await finished(await queue.add('well', {})), 'fine');
    }
    assert.equal(await finished(await queue.add('flood log', {})), 'fine');
    await eventually('the flood ends', () => host.log().includes('reached its limit of log lines or bytes'));
    assert.ok(host.log().match(/guest: line \d+/g).length <= 1000);
    assert.equal(await finished(await queue.add('value not UTF-8', {})), 'caf\ufffd');
    assert.equal(await finished(await queue.add('made by hand', {})), 7);
    assert.equal(await finished(await queue.add('move twice', {})), 'fine');
  });
});

test('data larger than the memory fail the attempt', () =>
  served(kinds, ['ring'], { limits: { memory_bytes_max: 4 << 20 } }, async ({ queue, finished }) => {
    await assert.rejects(finished(await queue.add('reads much', 'x'.repeat(3_000_000))), /memory limit of 4194304 bytes/);
    assert.equal(await finished(await queue.add('nothing', {})), null);
  }));

test('a cancelled job hears of it and of the reason', () =>
  // It asks without a pause until it hears of it.
  served(kinds, ['ring'], { limits: { host_calls_max: Number.MAX_SAFE_INTEGER } }, async ({ queue, finished }) => {
    const job = await queue.add('wait until cancelled', {});
    await eventually('the job runs', async () => (await job.getState()) === 'active');
    const ended = assert.rejects(finished(job), /wrong address/);
    await run('job', 'cancel', 'ring', job.id, '--reason', 'wrong address', '--redis', redis.url);
    await ended;
  }));

test('reused memory is given back after each attempt', () =>
  served(kinds, ['ring'], { reuse: { jobs: 1000 }, concurrency: 1, limits: { memory_bytes_max: 16 << 20 } }, async ({ queue, host, finished }) => {
    // Each attempt reads 6.4 MB.
    const data = 'x'.repeat(100_000);
    for (let n = 0; n < 20; n++) assert.equal(await finished(await queue.add('reads much', data)), null);
    for (let n = 1; n < 4; n++) assert.equal(await finished(await queue.add('count', {})), n);
    assert.doesNotMatch(host.log(), /WARN|ERROR/);
  }));
