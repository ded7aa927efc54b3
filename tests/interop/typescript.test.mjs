// Processors in TypeScript: built, swapped while the host runs, and what they must not do.
import { after, before, beforeEach, test } from 'node:test';
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { cp, mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { homedir } from 'node:os';
import { promisify } from 'node:util';
import { brotliCompressSync, deflateRawSync, deflateSync, gzipSync } from 'node:zlib';
import { eventually, oneAtATime, run, startRedis, startToril, toril } from './harness.mjs';
import { failure, project, SDK, served as servedBy, source } from './scripts.mjs';

let redis;
before(async () => {
  redis = await startRedis();
});
after(() => redis.stop());
beforeEach(() => redis.client.flushall());

const served = (file, options, body) => servedBy(redis, file, options, body);

test('a file is built, checked, run and deployed', async (t) => {
  const dir = await project(t, { 'paint.ts': 'export default async (job: { data: { walls: number } }) => ({ cost: job.data.walls * 100 });\n' });
  const file = join(dir, 'paint.ts');
  const built = await run('build', file);
  assert.match(built, /dist\/paint\.wasm\n {2}size {5}\d+ bytes\n {2}imports\n/);
  assert.doesNotMatch(built, /wasi:http|wasi:keyvalue/);
  assert.match(await run('check', join(dir, 'dist/paint.wasm')), /is a processor/);
  assert.match(await run('run', file, '--data', '{"walls":4}'), /completed: {"cost":400}/);
  const host = await startToril(redis, { ring: { concurrency: 1 } });
  try {
    assert.match(await run('deploy', 'ring', file, '--redis', redis.url), /: ok/);
  } finally {
    await host.stop();
  }
});

test('what is taken once for all jobs is told with file and line, and nothing else is', async (t) => {
  const dir = await project(t, {
    'paint.ts': [
      "import { made } from './made';",
      "import { clock } from 'clock';",
      "import later from 'later';",
      'const start = Date.now(); later();',
      'export const warmup = () => void [Math.random(), new Date()];',
      'console.warn("mind the paint");',
      'export default async () => [start, made, clock, later(), Math.random(), Date.now()];',
    ].join('\n'),
    'made.ts': [
      'const id = (): number => Math.random();',
      '',
      'export const made = [id(), new Date(0), new Date()];',
      'for (let i = 0; i < 3; i += 1) made.push(id());',
    ].join('\n'),
  });
  const modules = {
    // Its user could not change what a package does when it is loaded.
    clock: 'export const clock = [Date.now(), Math.random()];\n',
    later: 'const loaded = Date.now();\nmodule.exports = () => Date.now() - loaded;\n',
  };
  for (const [name, text] of Object.entries(modules)) {
    await mkdir(join(dir, 'node_modules', name), { recursive: true });
    await writeFile(join(dir, 'node_modules', name, 'index.js'), text);
  }
  const { stderr } = await promisify(execFile)(toril, ['build', join(dir, 'paint.ts')], { env: { ...process.env, TORIL_JS_SDK: SDK } });
  const told = stderr.split('\n').filter((line) => /top level|mind/.test(line)).map((line) => line.replace(/ at a module's top level.*/, ''));
  assert.deepEqual(told.map((line) => line.replace(/^.*?(?=made\.ts|paint\.ts:|mind)/, '')), [
    'made.ts:1:31: a random number is taken',
    'made.ts:3:41: the time is taken',
    'paint.ts:4:20: the time is taken',
    'mind the paint',
  ], stderr);
});

test('a component holds nothing of the machine that built it', async (t) => {
  const dir = await project(t, { 'paint.ts': "import path from 'path';\nexport default async (job: any) => path.join(job.data.dir, process.env.COLOR ?? '');\n" });
  const secret = 'secret-of-the-builder';
  const env = { ...process.env, TORIL_JS_SDK: SDK, COLOR: secret, HOSTNAME: 'host-of-the-builder' };
  await promisify(execFile)(toril, ['build', join(dir, 'paint.ts')], { env });
  const component = await readFile(join(dir, 'dist/paint.wasm'), 'latin1');
  // It is read as it stands: what is in it is found.
  assert.ok(component.includes('paint.ts') && component.includes('COLOR'));
  const cargo = process.env.CARGO_HOME ?? join(homedir(), '.cargo');
  for (const text of [secret, env.HOSTNAME, dir, SDK, process.cwd(), `${homedir()}/`, cargo, '.cargo/', '/rustup/']) {
    const at = component.indexOf(text);
    assert.equal(at, -1, `${text}: ${component.slice(at - 40, at + 80)}`);
  }
});

test('the same file is the same component', async (t) => {
  const dir = await project(t);
  const digest = async (name) => {
    await cp(source('steps.ts'), join(dir, name));
    return (await run('check', join(dir, name))).match(/digest\s+(\S+)/)[1];
  };
  assert.equal(await digest('a.ts'), await digest('a.ts'));
});

test('a file that is saved is swapped while jobs run', async (t) => {
  const dir = await project(t, {
    'paint.ts': "import { color } from './color';\nexport default async () => color;\n",
    'color.ts': "export const color = 'red';\n",
  });
  await served(join(dir, 'paint.ts'), { concurrency: 5 }, async ({ queue, host, finished }) => {
    assert.equal(await finished(await queue.add('wall', {})), 'red');
    // A broken file changes nothing.
    await writeFile(join(dir, 'color.ts'), 'export const color = ;\n');
    host.child.kill('SIGHUP');
    await eventually('the broken file is refused', () => /color\.ts:1:\d+/.test(host.log()));
    assert.equal(await finished(await queue.add('wall', {})), 'red');
    await writeFile(join(dir, 'color.ts'), "export const color = 'green';\n");
    host.child.kill('SIGHUP');
    await eventually('the new file runs', async () => (await finished(await queue.add('wall', {}))) === 'green');
  });
});

test('a saved file is built once by a host that writes into the project, whatever became of its bundler', async (t) => {
  const color = (name) => `export const color = '${name}';\n`;
  const dir = await project(t, {
    'paint.ts': "import { color } from './color';\nexport default async () => color;\n",
    'color.ts': color('red'),
    'toril.toml': `redis = "${redis.url}"\nwatch = true\n[queues.ring]\nprocessor = "paint.ts"\n`,
  });
  // `host.txt` might be imported, by its name.
  const log = join(dir, 'host.txt');
  const command = `exec "${toril}" serve --log debug 2>"${log}"`;
  const child = spawn('sh', ['-c', command], { cwd: dir, env: { ...process.env, TORIL_JS_SDK: SDK } });
  const ended = once(child, 'exit');
  const read = () => readFile(log, 'utf8').catch(() => '');
  const swapped = async (count) => {
    const done = async () => (await read()).match(/processor was swapped/g)?.length === count;
    await eventually(`${count} swaps`, done).catch(async (error) => {
      throw new Error(`${error.message}\n${await read()}`);
    });
  };
  /** As an editor does it: whole. */
  const save = async (name) => {
    await writeFile(join(dir, 'color.ts.new'), color(name));
    await rename(join(dir, 'color.ts.new'), join(dir, 'color.ts'));
  };
  try {
    await eventually('it serves', async () => /serving/.test(await read()));
    await save('green');
    await swapped(1);
    // It may end at any time; the next build starts another one.
    const bundlers = (await promisify(execFile)('pgrep', ['-P', child.pid, 'node'])).stdout.trim().split('\n');
    assert.equal(bundlers.length, 1);
    process.kill(Number(bundlers[0]), 'SIGKILL');
    await writeFile(join(dir, 'notes.json'), '{}');
    await save('blue');
    await swapped(2);
    // What takes longer is reported as `still building`.
    assert.equal((await read()).match(/(?<!still )building the processor/g).length, 3, await read());
  } finally {
    child.kill('SIGTERM');
    await ended;
  }
});

/** The file mentions `fetch`. */
const grants = { http: { hosts: ['paint.example'] } };

test('no two jobs share random numbers or ids', async (t) => {
  const dir = await project(t);
  await cp(source('hostile.ts'), join(dir, 'hostile.ts'));
  const count = Number(process.env.RANDOM_JOBS ?? 10_000);
  await served(join(dir, 'hostile.ts'), { concurrency: 50, grants }, async ({ queue }) => {
    for (let n = 0; n < count; n += 1000) await queue.addBulk(Array.from({ length: 1000 }, () => ({ name: 'identity', data: {} })));
    await eventually('all jobs complete', async () => (await queue.getCompletedCount()) === count);
    const seen = [new Set(), new Set(), new Set()];
    for (const job of await queue.getCompleted(0, -1)) job.returnvalue.forEach((value, n) => seen[n].add(value));
    assert.deepEqual(seen.map((values) => values.size), [count, count, count]);
  });
});

test('answers that a server compressed are decoded, piece by piece', async (t) => {
  const text = 'all walls are red. '.repeat(20_000);
  const bodies = {
    plain: [text, undefined], gzip: [gzipSync(text), 'gzip'], 'x-gzip': [gzipSync(text), 'X-GZIP'], members: [Buffer.concat([gzipSync(text.slice(0, 1000)), gzipSync(text.slice(1000))]), 'gzip'],
    deflate: [deflateSync(text), 'deflate'], raw: [deflateRawSync(text), 'deflate'], identity: [text, 'identity'], empty: ['', 'gzip'],
    cut: [gzipSync(text).subarray(0, 500), 'gzip'], broken: [gzipSync(text).fill(7, 200, 201), 'gzip'], 'cut deflate': [deflateSync(text).subarray(0, 500), 'deflate'],
    brotli: [brotliCompressSync(text), 'br'], bomb: [gzipSync(Buffer.alloc(400 << 20)), 'gzip'],
  };
  const asked = [];
  const server = createServer((request, response) => {
    const [body, encoding] = bodies[decodeURIComponent(request.url.slice(1))];
    asked.push(request.headers['accept-encoding']);
    if (encoding) response.setHeader('content-encoding', encoding);
    // In small pieces: no decoder gets all at once.
    const bytes = Buffer.from(body);
    const size = bytes.length > 100_000 ? 50_000 : 97;
    for (let at = 0; at < bytes.length; at += size) response.write(bytes.subarray(at, at + size));
    response.end();
  }).listen(0, '127.0.0.1');
  t.after(() => server.close());
  await once(server, 'listening');
  const dir = await project(t, {
    'paint.ts': `export default async ({ name, data }: any) => {
      const response = await fetch(data + name, name === 'raw' ? { headers: { range: 'bytes=0-' } } : {});
      return (await response.text()).length;
    };\n`,
  });
  const { port } = server.address();
  const grants = { http: { hosts: [`127.0.0.1:${port}`], private: ['127.0.0.0/8'] } };
  await served(join(dir, 'paint.ts'), { grants, limits: { memory_bytes_max: 64 << 20, deadline_ms: 60_000 } }, async (stage) => {
    const url = `http://127.0.0.1:${port}/`;
    for (const name of ['plain', 'gzip', 'x-gzip', 'members', 'deflate', 'raw', 'identity']) {
      assert.equal(await stage.finished(await stage.queue.add(name, url)), text.length, name);
    }
    assert.equal(await stage.finished(await stage.queue.add('empty', url)), 0);
    const reasons = { cut: /ends in the middle/, 'cut deflate': /ends in the middle/, broken: /compressed body is invalid/, brotli: /encoded as `br`, which `fetch` does not decode/, bomb: /memory limit|out of memory/ };
    for (const [name, reason] of Object.entries(reasons)) {
      const { stacktrace } = await failure(stage, name, url);
      assert.match(`${stacktrace}`, reason, name);
    }
  });
  assert.deepEqual(new Set(asked), new Set(['gzip, deflate', 'identity']));
});

test('a body that is read as a stream needs little memory, however large it is', async (t) => {
  const large = Buffer.alloc(100 << 20);
  const bodies = { '/plain': [large, {}], '/gzip': [gzipSync(large), { 'content-encoding': 'gzip' }] };
  const server = createServer((request, response) => {
    const [body, headers] = bodies[request.url];
    response.writeHead(200, headers).end(body);
  }).listen(0, '127.0.0.1');
  t.after(() => server.close());
  await once(server, 'listening');
  const dir = await project(t, {
    'paint.ts': `export default async ({ data: [url, how] }: any) => {
      const { body } = await fetch(url);
      let count = 0;
      if (how === 'loop') for await (const piece of body as any) count += piece.length;
      else {
        const reader = body!.getReader();
        for (let read = await reader.read(); !read.done; read = await reader.read()) count += read.value.length;
      }
      return count;
    };\n`,
  });
  const host = `127.0.0.1:${server.address().port}`;
  const grants = { http: { hosts: [host], private: ['127.0.0.0/8'], response_bytes_max: 200 << 20 } };
  await served(join(dir, 'paint.ts'), { grants, limits: { memory_bytes_max: 24 << 20, deadline_ms: 120_000 } }, async ({ queue, finished }) => {
    for (const path of Object.keys(bodies)) {
      for (const how of ['loop', 'reader']) {
        const job = await queue.add(how, [`http://${host}${path}`, how]);
        assert.equal(await finished(job, 120_000), large.length, `${path}, ${how}`);
      }
    }
  });
});

test('regexps match as in Node, also where a script changes how they do', async (t) => {
  const dir = await project(t);
  await cp(source('regexps.mjs'), join(dir, 'regexps.mjs'));
  const { default: processor } = await import(source('regexps.mjs'));
  const [, value] = (await run('run', join(dir, 'regexps.mjs'))).match(/^completed: (.*)$/m);
  assert.deepEqual(JSON.parse(value), JSON.parse(JSON.stringify(processor())));
});

test('times have the clocks of all zones, as in Node', async (t) => {
  const formats = [
    { hourCycle: 'h23', year: 'numeric', month: '2-digit', day: '2-digit', hour: '2-digit', minute: '2-digit', second: '2-digit' },
    { weekday: 'short', timeZoneName: 'shortOffset' },
  ];
  const written = (zone, times, formats) => formats.map((format) => times.map((time) => new Intl.DateTimeFormat('en-US', { ...format, timeZone: zone }).format(time)));
  const dir = await project(t, {
    'paint.ts': `const written: any = ${written};
      export default ({ name, data }: any) =>
        name === 'all' ? Intl.supportedValuesOf('timeZone') : data.zones.map((zone: string) => written(zone, data.times, data.formats));\n`,
  });
  const zones = Intl.supportedValuesOf('timeZone');
  // Twice a year, and around the changes of one year. What governments decide later, Node may not know.
  const times = Array.from({ length: 110 }, (_, half) => Date.UTC(1970, half * 6, 15, 12, 34, 56));
  for (let day = 0; day < 366; day += 2) times.push(Date.UTC(2023, 0, day, day % 24, 30));
  await served(join(dir, 'paint.ts'), { limits: { deadline_ms: 120_000 } }, async ({ queue, finished }) => {
    const compare = async (zones, times, formats) => {
      const values = await finished(await queue.add('zones', { zones, times, formats }), 120_000);
      zones.forEach((zone, n) => assert.deepEqual(values[n], written(zone, times, formats), zone));
    };
    for (let at = 0; at < zones.length; at += 60) await compare(zones.slice(at, at + 60), times, formats);
    // Names are those of our days. In winter Troll has one in Node, of no use to anybody.
    const others = ['UTC', 'Etc/Universal', 'GMT+0', 'EST', 'PRC', 'ROC', 'Navajo', 'Jamaica', 'US/Aleutian'];
    const named = [...zones, ...others].filter((zone) => zone !== 'Antarctica/Troll');
    await compare(named, [0, 6].map((month) => Date.UTC(2024, month, 15)), [{ weekday: 'short', timeZoneName: 'short' }]);
    const all = await finished(await queue.add('all'));
    assert.deepEqual(zones.filter((zone) => !all.includes(zone)), []);
  });
});

test('a cancelled job hears of it and of the reason', async (t) => {
  const dir = await project(t);
  await cp(source('hostile.ts'), join(dir, 'hostile.ts'));
  await served(join(dir, 'hostile.ts'), { grants }, async ({ queue, finished }) => {
    const job = await queue.add('wait until cancelled', {});
    await eventually('the job runs', async () => (await job.getState()) === 'active');
    const ended = assert.rejects(finished(job), /wrong address/);
    await run('job', 'cancel', 'ring', job.id, '--reason', 'wrong address', '--redis', redis.url);
    await ended;
  });
});

test('durable steps hold over attempts', () =>
  served(source('steps.ts'), { grants: { queues: ['ring'] }, ...oneAtATime }, async ({ queue, finished }) => {
    const job = await queue.add('steps', { rows: ['a', 'broken', 'c'] }, { attempts: 2 });
    const value = await finished(job);
    assert.deepEqual(value, { first: { at: '1970-01-01T00:00:00.000Z' }, second: null, called: 'shipped', reason: 'no ship today' });
    assert.deepEqual((await queue.getJobLogs(job.id)).logs, ['first', 'second', 'a', 'broken', 'c']);
    // One attempt failed, the last one did not; a sleep and two calls spent none.
    const { attemptsMade, attemptsStarted } = await queue.getJob(job.id);
    assert.deepEqual([attemptsMade, attemptsStarted], [2, 5]);
  }));
