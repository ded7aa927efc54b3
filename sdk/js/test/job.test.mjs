// The job of an attempt: its fields, its methods, and how an attempt ends.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loaded, refusal, result } from './stand-in.mjs';

test('fields are those of BullMQ, options under their long names', async () => {
  const json = await result('return job');
  assert.deepEqual(json, {
    id: '7', name: 'paint', data: { walls: 3 },
    opts: {
      attempts: 2, keepLogs: 5, failParentOnFailure: true, deduplication: { id: 'd' }, telemetry: { metadata: 'trace' },
      backoff: { type: 'fixed', delay: 9 },
    },
    queueQualifiedName: 'bull:walls', progress: { done: 1 }, returnvalue: null, stacktrace: ['Error: before'], delay: 0,
    priority: 4, timestamp: 1000, attemptsStarted: 2, attemptsMade: 1, stalledCounter: 0, failedReason: 'before',
    processedOn: 2000, parentKey: 'bull:top:1', parent: { id: '1', queueKey: 'bull:top' }, deduplicationId: 'd',
    token: 'held-by-the-host',
  });
  assert.deepEqual(await result('return [job.queueName, job.prefix, token === job.token]'), ['walls', 'bull', true]);
});

test('fields are read once, when they are asked for, and can be written', async () => {
  const { run, calls } = await loaded(
    'export default async (job: any) => { job.data.walls += 1; job.name = "other"; return [job.data, job.data.walls, job.name]; }',
  );
  assert.deepEqual(await run(), { ok: '[{"walls":4},4,"other"]' });
  assert.deepEqual(calls, [['job.data']]);
});

test('fields that say nothing are those of BullMQ', async () => {
  const { run, calls } = await loaded(
    'export default async (job: any) => { await job.log(undefined); await job.log(null); await job.log(7); return [job.progress, job.opts.backoff]; }',
    { 'job.progress': 'null', 'job.opts': '{"backoff":7}' },
  );
  assert.deepEqual(JSON.parse((await run()).ok), [0, { type: 'fixed', delay: 7 }]);
  assert.deepEqual(calls.filter(([name]) => name === 'job.log').map(([, line]) => line), ['', '', '7']);
});

test('the options of a job of a scheduler do not name it, as in BullMQ', async () => {
  const answers = { 'job.opts': '{"repeatJobKey":"nightly","repeat":{"count":1}}', 'job.repeatJobKey': 'nightly' };
  const { run } = await loaded('export default async (job: any) => [job.opts, job.repeatJobKey]', answers);
  assert.deepEqual(JSON.parse((await run()).ok), [{ attempts: 0, repeat: { count: 1 } }, 'nightly']);
});

test('each attempt has a job of its own', async () => {
  let id = 0;
  const { run } = await loaded('export default async (job: any) => job.id', { 'job.id': () => `${(id += 1)}` });
  assert.deepEqual([await run(), await run()], [{ ok: '"1"' }, { ok: '"2"' }]);
});

test('methods call the host', async () => {
  const body = `
    await job.updateData({ walls: 4 });
    await job.updateProgress(50);
    const lines = await job.log('one');
    const state = await job.getState();
    const values = await job.getChildrenValues();
    const failures = [await job.getFailedChildrenValues(), await job.getIgnoredChildrenFailures()];
    const dependencies = [await job.getDependencies({ processed: { count: 1 } }), await job.getDependenciesCount()];
    const removed = await job.removeUnprocessedChildren();
    const freed = [await job.removeChildDependency(), job.parentKey === undefined];
    const waits = await job.moveToWaitingChildren(token, { child: { id: '9', queue: 'bull:steps' } });
    return { data: job.data, progress: job.progress, lines, state, values, failures, dependencies, removed, freed, waits, now: await job.getState() };
  `;
  const failures = { 'bull:steps:2': 'no paint' };
  assert.deepEqual(await result(body), {
    data: { walls: 4 }, progress: 50, lines: 1, state: 'active', values: { 'bull:steps:1': { cost: 5 } },
    failures: [failures, failures], dependencies: [{ processed: {}, unprocessed: [] }, { processed: 1 }], removed: 2,
    freed: [true, true], waits: true, now: 'waiting-children',
  });
  const { run, calls } = await loaded(`export default async function (job: any, token: any) { ${body} }`);
  await run();
  const sent = calls.filter(([, ...args]) => args.length);
  assert.deepEqual(sent, [
    ['job.updateData', '{"walls":4}'], ['job.updateProgress', '50'], ['job.log', 'one'],
    ['job.dependencies', '{"processed":{"count":1}}'], ['job.dependenciesCount', '{}'],
    ['job.moveToWaitingChildren', 'bull:steps:9'],
  ]);
});

/** How an attempt ends whose processor has this body. */
async function outcome(body, answers) {
  const { run } = await loaded(`
    import * as bullmq from 'bullmq';
    const { DelayedError, RateLimitError, UnrecoverableError, WaitingChildrenError, WaitingError, Worker, Queue } = bullmq;
    export default async function (job: any, token: any, signal: any) { ${body} }`, answers);
  const ended = await run();
  delete ended.failure?.stack;
  // Only failures have a reason on their way through the engine.
  if (ended.failure && !['failed', 'unrecoverable'].includes(ended.failure.kind)) delete ended.failure.message;
  return ended;
}

test('special errors are BullMQ\'s, anywhere in the chain of causes', async () => {
  const kinds = {
    'throw new DelayedError()': { kind: 'delayed' },
    'throw new WaitingError()': { kind: 'waiting' },
    'throw new WaitingChildrenError()': { kind: 'waiting-children' },
    'throw new UnrecoverableError("no more")': { kind: 'unrecoverable', message: 'no more' },
    'throw new UnrecoverableError()': { kind: 'unrecoverable', message: 'bullmq:unrecoverable' },
    'throw new RateLimitError()': { kind: 'rate-limited', durationMs: 0 },
    'throw Worker.RateLimitError()': { kind: 'rate-limited', durationMs: 0 },
    'throw new Error("out", { cause: new Error("mid", { cause: new DelayedError() }) })': { kind: 'delayed' },
    'throw Object.assign(new Error("copy"), { name: "UnrecoverableError" })': { kind: 'unrecoverable', message: 'copy' },
    'const e: any = new Error("circle"); e.cause = e; throw e': { kind: 'failed', message: 'circle' },
  };
  for (const [body, failure] of Object.entries(kinds)) assert.deepEqual(await outcome(body), { failure }, body);
  assert.deepEqual(
    await outcome('const e = new DelayedError(); return [e instanceof DelayedError, e instanceof Error, e.name]'),
    { ok: '[true,true,"DelayedError"]' },
  );
});

test('whatever is thrown has a reason', async () => {
  const reasons = {
    'throw new TypeError("bad")': 'bad', 'throw new RangeError()': '', 'throw "text"': 'text', 'throw 7': '7',
    'throw undefined': 'undefined', 'throw null': 'null', 'throw { code: 5 }': '{"code":5}', 'throw { message: "m" }': 'm',
    'throw Symbol("s")': 'Symbol(s)', 'await Promise.reject("later")': 'later', 'job.nothing.at.all': undefined,
    'throw { get message() { throw new Error("getter") } }': 'getter', 'const c: any = {}; c.c = c; throw c': '[object Object]',
  };
  for (const [body, message] of Object.entries(reasons)) {
    const { failure } = await outcome(body);
    assert.equal(failure.kind, 'failed', body);
    if (message !== undefined) assert.equal(failure.message, message, body);
  }
  assert.match((await outcome('return 10n')).failure.message, /BigInt/);
  const { run } = await loaded('export default async () => { throw new Error("with stack"); }');
  assert.match((await run()).failure.stack, /processor\.js/);
});

test('values are what JSON makes of them', async () => {
  const values = { 'return undefined': 'null', 'return null': 'null', 'return new Date(0)': '"1970-01-01T00:00:00.000Z"', 'return () => 1': 'null' };
  for (const [body, ok] of Object.entries(values)) assert.deepEqual(await outcome(body), { ok }, body);
});

test('moves reach the host', async () => {
  const { run, calls } = await loaded(`
    import { DelayedError } from 'bullmq';
    export default async (job: any, token: any) => { await job.moveToDelayed(5000.7, token); throw new DelayedError(); }`);
  assert.equal((await run()).failure.kind, 'delayed');
  assert.deepEqual(calls[0], ['job.moveToDelayed', 5000]);
  assert.match((await outcome('await job.moveToDelayed(Infinity)')).failure.message, /timestamp must be a number/);
});

test('a job is delayed until what a subtraction makes of a time', async () => {
  const times = [['"5"', 5], ['new Date(7)', 7], ['true', 1], ['null', 0], ['undefined', 0], ['"soon"', 0], ['NaN', 0], ['-Infinity', 0], ['"9000000000000.5"', 9e12]];
  for (const [time, at] of times) {
    const { run, calls } = await loaded(`
      import { DelayedError } from 'bullmq';
      export default async (job: any) => { await job.moveToDelayed(${time}); throw new DelayedError(); }`);
    assert.equal((await run()).failure.kind, 'delayed', time);
    assert.deepEqual(calls[0], ['job.moveToDelayed', at], time);
  }
});

test('a failed child that fails its parent cannot be recovered from', async () => {
  const answers = { 'job.moveToWaitingChildren': refusal('child-failed', 'Cannot complete job 7') };
  const { failure } = await outcome('await job.moveToWaitingChildren(token)', answers);
  assert.deepEqual(failure, { kind: 'unrecoverable', message: 'Cannot complete job 7' });
  assert.deepEqual(
    await outcome('try { await job.log("x") } catch (e) { return [e.code, e.message] }', { 'job.log': refusal('limit', 'too long') }),
    { ok: '["limit","too long"]' },
  );
});

/** A host that keeps steps, as answers for many attempts. */
function keeping() {
  const kept = {};
  const keep = (name, text) => { kept[name] = text; };
  return {
    kept,
    answers: {
      'steps.begin': (name) => kept[name], 'steps.finish': keep, 'steps.cursor': (name) => kept[name], 'steps.setCursor': keep,
    },
  };
}

test('a step that is done does not run again, and its value is the same', async () => {
  const { answers, kept } = keeping();
  const { run, calls } = await loaded(`
    export default async (job: any) => {
      const ran: string[] = [];
      const at = await job.step('at', async () => { ran.push('at'); return { at: new Date(0) }; });
      const nothing = await job.step('nothing', () => { ran.push('nothing'); });
      return { at, nothing, ran };
    }`, answers);
  const values = { at: { at: '1970-01-01T00:00:00.000Z' }, nothing: null };
  assert.deepEqual(JSON.parse((await run()).ok), { ...values, ran: ['at', 'nothing'] });
  assert.deepEqual(kept, { at: JSON.stringify(values.at), nothing: 'null' });
  assert.deepEqual(JSON.parse((await run()).ok), { ...values, ran: [] });
  assert.equal(calls.filter(([name]) => name === 'steps.finish').length, 2);
});

test('of a step that fails nothing is kept', async () => {
  const { answers, kept } = keeping();
  const errors = {
    'await job.step("a", async () => { throw new TypeError("as it is"); })': /^as it is$/,
    'await job.step("a", () => 10n)': /BigInt/,
    'await job.step("a", () => { const value: any = {}; value.value = value; return value; })': /circular/i,
    'await job.step("a")': /`a` does is a function/,
    'await job.step(undefined, () => 1)': /name of a step is a string/,
  };
  for (const [body, message] of Object.entries(errors)) assert.match((await outcome(body, answers)).failure.message, message, body);
  assert.deepEqual(kept, {});
  const refused = { 'steps.begin': refusal('invalid', 'two steps of this attempt are named `a`') };
  assert.match((await outcome('await job.step("a", () => 1)', refused)).failure.message, /two steps/);
});

test('steps go side by side', async () => {
  const { answers, kept } = keeping();
  const body = `
    let open: any;
    const opened = new Promise((resolve) => { open = resolve; });
    return Promise.all([job.step('first', async () => { await opened; return 1; }), job.step('second', async () => { open(); return 2; })]);`;
  assert.deepEqual(await outcome(body, answers), { ok: '[1,2]' });
  assert.deepEqual(Object.entries(kept), [['second', '2'], ['first', '1']]);
});

test('a sleep leaves as delayed, and is over later', async () => {
  assert.deepEqual(await outcome('await job.sleep("rest", 200)'), { failure: { kind: 'delayed' } });
  const caught = 'try { await job.sleep("rest", 0.5) } catch (error) { return [error instanceof DelayedError, await job.getState()] }';
  assert.deepEqual(await outcome(caught), { ok: '[true,"delayed"]' });
  assert.deepEqual(await outcome('return [await job.sleep("rest", 200), await job.getState()]', { 'steps.sleep': false }), { ok: '[null,"active"]' });
  const { run, calls } = await loaded('export default async (job: any) => { await job.sleep("rest", job.data) }', { 'job.data': '0.5', 'steps.sleep': false });
  await run();
  assert.deepEqual(calls.at(-1), ['steps.sleep', 'rest', 1]);
  for (const duration of ['undefined', 'NaN', 'Infinity', '"7"']) {
    assert.match((await outcome(`await job.sleep("rest", ${duration})`)).failure.message, /duration must be a number/, duration);
  }
});

test('a call waits, has a value, or throws the reason', async () => {
  const call = 'await job.call("ship", { queue: "shipping", name: "parcel", data: { order: 7 }, opts: { attempts: 3 } })';
  const called = (kind, text) => ({ 'steps.call': { kind, text } });
  assert.deepEqual(await outcome(`return ${call}`), { failure: { kind: 'waiting-children' } });
  assert.deepEqual(await outcome(`try { ${call} } catch (error) { return [error instanceof WaitingChildrenError, await job.getState()] }`), { ok: '[true,"waiting-children"]' });
  assert.deepEqual(await outcome(`return ${call}`, called('completed', '{"parcel":1}')), { ok: '{"parcel":1}' });
  assert.deepEqual(await outcome(`return ${call}`, called('failed', 'no ship')), { failure: { kind: 'failed', message: 'no ship' } });
  const fails = { 'steps.call': refusal('child-failed', 'child bull:shipping:1 failed') };
  assert.deepEqual((await outcome(`return ${call}`, fails)).failure.kind, 'unrecoverable');
  const { run, calls } = await loaded(`export default async (job: any) => { ${call} }`);
  await run();
  assert.deepEqual(calls, [['steps.call', 'ship', 'shipping', { name: 'parcel', data: '{"order":7}', options: '{"attempts":3}' }]]);
  assert.match((await outcome('await job.call("ship")')).failure.message, /queue of the job must be its name/);
});

test('a cursor has the place that was kept last', async () => {
  const { answers, kept } = keeping();
  const { run } = await loaded(`
    export default async (job: any) => {
      const cursor = await job.cursor('rows');
      const first = cursor.value;
      await cursor.set({ row: (first?.row ?? 0) + 1 });
      return [first ?? 'none', cursor.value];
    }`, answers);
  assert.deepEqual(await run(), { ok: '["none",{"row":1}]' });
  assert.deepEqual(await run(), { ok: '[{"row":1},{"row":2}]' });
  assert.deepEqual(kept, { rows: '{"row":2}' });
});

test('steps are those of the job that the processor was called for', async () => {
  const calls = ['step("a", () => 1)', 'sleep("a", 1)', 'call("a", {})', 'cursor("a")'];
  for (const call of calls) {
    const body = `const other: any = await new Queue("walls").add("n", 1); await other.${call}`;
    assert.match((await outcome(body, { 'producer.add': '9' })).failure.message, /job that the processor was called for/, call);
  }
});

test('a rate limit is the one that was set', async () => {
  const refused = { 'queues.rateLimit': refusal('denied', 'not granted') };
  const limited = (body, answers) => outcome(`${body}; throw new RateLimitError()`, answers);
  assert.deepEqual(await limited('await new Queue("walls").rateLimit(300)'), { failure: { kind: 'rate-limited', durationMs: 300 } });
  assert.deepEqual(await limited('await new Queue("walls").rateLimit(300)', refused), { failure: { kind: 'rate-limited', durationMs: 300 } });
  const { failure } = await limited('await new Queue("other").rateLimit(300)', refused);
  assert.equal(failure.message, 'not granted');
});

test('methods that are not available say what to use', async () => {
  const hints = {
    'await job.moveToCompleted(1, token)': /return the value/, 'await job.waitUntilFinished()': /moveToWaitingChildren/,
    'await new Queue("q").pause()': /for operators/, 'await new Queue("q").getJobs()': /getJobState/, 'new bullmq.Job()': /queue\.add/,
  };
  for (const [body, hint] of Object.entries(hints)) assert.match((await outcome(body)).failure.message, hint, body);
});

test('the signal asks the host when somebody looks, and while somebody listens', async () => {
  let asked = 0;
  const cancelled = (from) => ({ 'job.isCancelled': () => (asked += 1) >= from, 'job.cancelReason': () => 'stop it' });
  assert.deepEqual(await outcome('return [signal.aborted, signal.aborted, signal.reason]', cancelled(2)), { ok: '[false,true,"stop it"]' });
  asked = 0;
  assert.deepEqual(await outcome('return signal instanceof AbortSignal', cancelled(1)), { ok: 'true' });
  assert.equal(asked, 0, 'nobody looked');
  const waits = 'return new Promise((done) => signal.addEventListener("abort", () => done(signal.reason), { once: true }))';
  assert.deepEqual(await outcome(waits, cancelled(3)), { ok: '"stop it"' });
  const forms = ['async (...all) => all[2].aborted', 'async function () { return arguments[2].aborted; }', '(async (_j, _t, s) => s.aborted).bind(null)', 'async (_j, _t = "", { aborted } = {}) => aborted'];
  for (const form of forms) {
    const { run } = await loaded({ 'processor.js': `export default ${form};` });
    assert.match((await run()).ok, /false/, form);
  }
  const near = { 'job.isCancelled': true };
  assert.deepEqual(await outcome('try { signal.throwIfAborted() } catch (e) { return e.name }', near), { ok: '"TimeoutError"' });
});

test('the class of a job has the name that it has in BullMQ', async () => {
  assert.deepEqual(await result('return [job.constructor.name, Object.keys(job).length]'), ['Job', 0]);
});
