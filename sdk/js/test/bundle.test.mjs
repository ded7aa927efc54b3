// What the bundler refuses, what it warns of, and what comes into a bundle.
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, mkdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { originalPositionFor, TraceMap } from '@jridgewell/trace-mapping';
import { bundled, load, result } from './stand-in.mjs';

const COMMAND = new URL('../bundle.mjs', import.meta.url).pathname;
const PROCESSOR = 'export default async function () { return 1; }';

/** The message with which files are refused. */
async function refusal(files) {
  const error = await bundled(files).then(() => undefined, (caught) => caught);
  assert.ok(error, 'it was not refused');
  return error.message;
}

test('what is not available is refused with file, line and advice', async () => {
  const refused = [
    ["import fs from 'fs'; fs.readFileSync('x');", /`fs` is not available.*import template from/],
    ["import { readFile } from 'node:fs/promises'; readFile('x');", /`node:fs\/promises` is not available/],
    ["import net from 'node:net'; net.connect(1);", /`node:net` is not available.*use `fetch`/],
    ["import { exec } from 'child_process'; exec('x');", /starts neither processes nor threads/],
    ["import { Worker } from 'worker_threads'; new Worker('x');", /starts neither processes nor threads/],
    ["import { gzipSync } from 'zlib'; gzipSync('x');", /`fflate` or `pako`/],
    ["import https from 'https'; https.get('x');", /makes requests with `fetch`/],
    ["const fs = require('fs'); fs.readFileSync('x');", /`fs` is not available/],
    ["import { AsyncLocalStorage } from 'async_hooks'; new AsyncLocalStorage();", /hand values on as arguments/],
    ["import x from 'node:nothing'; x();", /Toril has no such module of Node/],
    ["import Redis from 'ioredis'; new Redis();", /the host holds the connection to Redis/],
    ["import { Pool } from 'pg'; new Pool();", /`pg` is not available.*a driver or a service that speaks HTTP/],
    ["import { drizzle } from 'mysql2/promise'; drizzle();", /`mysql2\/promise` is not available/],
    ["import sharp from 'sharp'; sharp();", /a processor in Rust/],
    ["import 'dotenv/config';", /`dotenv\/config` is not available.*toril\.toml/],
    ["import { createSign } from 'crypto'; createSign('x');", /`createSign` of `crypto` is not available.*RSA/],
    ["import crypto from 'node:crypto'; crypto.createCipheriv('x');", /`createCipheriv` of `crypto` is not available/],
    ["const { publicEncrypt } = require('crypto'); publicEncrypt();", /`publicEncrypt` of `crypto` is not available/],
    ["import { isArray, nothing } from 'util'; nothing(isArray);", /`nothing` of `util` is not available/],
    ["import { QueueEvents } from 'bullmq'; new QueueEvents('q');", /`QueueEvents` of `bullmq` is not available.*QueueEventsProducer/],
    ["import * as bullmq from 'bullmq'; new (bullmq as any).QueueEvents('q');", /`QueueEvents` of `bullmq` is not available/],
    ["const { QueueEvents } = require('bullmq'); new QueueEvents('q');", /`QueueEvents` of `bullmq` is not available/],
    ["const x = await fetch('http://x'); console.log(x);", /`await` at the top level is not available/],
  ];
  for (const [line, hint] of refused) {
    const message = await refusal(`// first\n${line}\n${PROCESSOR}`);
    assert.match(message, hint, line);
    assert.match(message, /processor\.ts:2:\d+:/, line);
  }
});

test('importing only types of a module is not a use of it', async () => {
  const { script } = await bundled(`
    import { QueueEvents, type Job } from 'bullmq'; import fs from 'fs'; import type Redis from 'ioredis';
    export default async function (job: Job) { const a: fs.Stats | QueueEvents | Redis | undefined = undefined; return a ?? 1; }`);
  assert.doesNotMatch(script, /refused/);
});

test('a bundle is made of files alone: who watches them finds each directory', async () => {
  for (const source of [
    'export default () => 1;',
    "import text from 'data:text/plain,some%20text/with/slashes'; export default () => text;",
    "import none from './none.js'; export default () => none;",
  ]) {
    const { inputs, dir } = await bundled({
      'processor.ts': source, 'package.json': '{ "browser": { "./none.js": false } }', 'none.js': 'export default 1;',
    });
    assert.ok(inputs.includes(join(dir, 'processor.ts')));
    assert.deepEqual([...new Set(inputs.map((input) => dirname(input)))], [dir], source);
  }
});

test('errors of syntax are esbuild\'s', async () => {
  assert.match(await refusal('export default async () => {'), /Unexpected end of file[^]*processor\.ts:1/);
  assert.match(await refusal("import x from './nowhere'; export default () => x;"), /Could not resolve "\.\/nowhere"/);
  for (const [name, installed] of [['nowhere', 'nowhere'], ['nowhere/at/all', 'nowhere'], ['@no/where/at-all', '@no/where']]) {
    const said = await refusal(`import x from '${name}'; export default () => x;`);
    assert.ok(said.includes(`Could not resolve "${name}"`) && said.includes(`\`npm install ${installed}\``), said);
    assert.doesNotMatch(said, /external/);
  }
  assert.doesNotMatch(await refusal("import x from '@/nowhere'; export default () => x;"), /npm install/);
});

test('a package that lacks a module need not be installed again', async () => {
  for (const exported of ['', ', "exports": { ".": "./index.js" }']) {
    const said = await refusal({
      'src/processor.ts': "import x from '@no/where/at-all'; export default () => x;",
      'node_modules/@no/where/package.json': `{ "name": "@no/where", "version": "1.0.0"${exported} }`,
      'node_modules/@no/where/index.js': 'export default 1;',
    });
    assert.match(said, /Could not resolve "@no\/where\/at-all"[^]*processor\.ts:1[^]*`@no\/where` is installed, but has no such module/);
    assert.doesNotMatch(said, /npm install|external/);
  }
});

test('the environment at the top level is warned of', async () => {
  const { warnings } = await bundled({
    'processor.ts': `
import { url } from './config';
interface Long { a: number }
const key = process.env.API_KEY;
const { HOME } = process.env;
const now = (() => process.env.NOW)();
class C { static s = process.env.STATIC; field = process.env.FIELD; }
const later = () => process.env.LATER;
export default async () => [key, HOME, now, later(), C, url, process.env.INSIDE];`,
    'config.ts': 'export const url = process.env["URL"]!;',
  });
  const places = warnings.map((warning) => /`([^`]+)`[^]*?(\w+\.ts:\d+):\d+/.exec(warning)?.slice(1).join(' '));
  assert.deepEqual(places.sort(), [
    'process.env config.ts:1', 'process.env processor.ts:5', 'process.env.API_KEY processor.ts:4',
    'process.env.NOW processor.ts:6', 'process.env.STATIC processor.ts:7',
  ]);
});

/** A project with packages; its bundle, or the message with which it is refused. */
const withPackage = (name, files, settings = {}) => bundled({
  'processor.ts': `import { run } from '${name}'; export default async () => run();`,
  ...Object.fromEntries(Object.entries(files).map(([file, text]) => [`node_modules/${name}/${file}`, text])),
  'package.json': JSON.stringify(settings),
});

test('a package that needs a connection is refused, unless the project says otherwise', async () => {
  const files = { 'index.js': "const net = require('net');\nexports.run = () => net.connect(5);" };
  const refused = await withPackage('driver', files).catch((error) => error.message);
  assert.match(refused, /the package `driver` needs `net`[^]*node_modules\/driver\/index\.js:1[^]*"stubs": \["net"\]/);
  const { warnings } = await withPackage('driver', files, { toril: { stubs: ['net'] } });
  assert.match(warnings[0], /the package `driver` imports `net`: what it calls of it throws/);
});

test('a package may import what it does not need', async () => {
  const files = {
    'package.json': '{ "type": "module", "sideEffects": false, "main": "index.js" }',
    'index.js': "import fs from 'fs'; import { connect } from 'net'; import { gzip, nothing } from 'zlib'; import { alsoNothing } from 'util';\nexport const run = () => 5;\nexport const unused = () => [fs, connect, gzip, nothing, alsoNothing];",
  };
  assert.deepEqual((await withPackage('modest', files)).warnings, []);
  const files2 = { 'index.js': "const fs = require('fs'); const { Agent } = require('https'); class Mine extends Agent {}\nexports.run = () => { try { fs.readFileSync('x'); } catch (error) { return [error.message, typeof Mine]; } };" };
  const result = await withPackage('usual', files2);
  assert.equal(result.warnings.length, 2);
  const [message, type] = JSON.parse((await load(result.script).run()).ok);
  assert.match(message, /`readFileSync of `fs`` is not available|readFileSync/);
  assert.equal(type, 'function');
});

test('only what is mentioned comes in', async () => {
  const size = async (body) => (await bundled(`export default async function (job: any) { ${body} }`, { minify: true })).script.length;
  const trivial = await size('return job.data');
  assert.ok(trivial < 21_500, `trivial: ${trivial}`);
  assert.ok((await size('console.log(job.data)')) - trivial < 60_000, 'console');
  assert.ok((await size('return crypto.randomUUID()')) - trivial < 2_500, 'randomUUID');
  assert.ok((await size('return (await fetch(job.data.url)).json()')) - trivial < 20_000, 'fetch');
  assert.ok((await size('return process.env.KEY')) - trivial < 5_000, 'process.env');
});

test('a global is found by whatever way it is reached', async () => {
  const ways = [
    'return typeof Buffer', 'return typeof globalThis.Buffer', 'const g: any = globalThis; return typeof g.Buffer', 'return typeof (global as any).Buffer',
    'const root: any = Function("return this")(); return typeof root.Buffer', 'const { Buffer: B } = globalThis as any; Buffer; return typeof B', 'return typeof (self as any).Buffer',
  ];
  for (const way of ways) {
    const { script } = await bundled(`export default async function () { ${way} }`);
    assert.deepEqual(await load(script).run(), { ok: '"function"' }, way);
  }
  const { script } = await bundled('(globalThis as any).fetch = async () => "mine"; (crypto as any) = { randomUUID: () => "own" }; export default async () => [await fetch("x"), crypto.randomUUID()];');
  assert.deepEqual(await load(script).run(), { ok: '["mine","own"]' });
});

test('names of files are those of the project, whatever machine builds it', async () => {
  const { script, sourceMap, inputs, dir } = await bundled({
    'src/processor.ts': "import { EventEmitter } from 'events'; import { other } from './other'; console.log(EventEmitter); export default async () => other;",
    'src/other.ts': 'export const other = 1;',
  });
  const { sources, sourcesContent } = JSON.parse(sourceMap);
  assert.ok(sources.includes('src/processor.ts') && sources.includes('src/other.ts') && sources.includes('@toril/sdk/src/start.js'));
  assert.ok(sources.every((source) => !source.includes('..') && !source.startsWith('/')), sources.join(' '));
  assert.equal(sourcesContent, undefined);
  for (const text of [script, sourceMap]) assert.ok(!text.includes(tmpdir()) && !text.includes(process.cwd()) && !/(?:^|[^.])\.\.\//.test(text), 'a path of the machine');
  // Those that are not there yet count, too.
  assert.deepEqual(inputs.filter((input) => input.endsWith('.ts')).sort(), [join(dir, 'src/other.ts'), join(dir, 'src/processor.ts')]);
  for (const name of ['package.json', 'package-lock.json', 'tsconfig.json', 'src/tsconfig.json']) assert.ok(inputs.includes(join(dir, name)), name);
  assert.ok(inputs.every((input) => input.startsWith(dir)), inputs.join(' '));
});

/** A bundler that is kept, and a folder with a package for it. `ask` gives the line that answers, if there is one. */
async function keptBundler(body) {
  const dir = await mkdtemp(join(tmpdir(), 'toril-sdk-'));
  const child = spawn(process.execPath, [COMMAND, '--requests'], { stdio: ['pipe', 'pipe', 'ignore'] });
  const ended = once(child, 'exit');
  const answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const ask = async (name) => {
    child.stdin.write(`${JSON.stringify({ entry: join(dir, name) })}\n`);
    return (await answers.next()).value;
  };
  try {
    await writeFile(join(dir, 'package.json'), '{}');
    await body({ dir, child, ended, ask });
  } finally {
    child.kill();
    await rm(dir, { recursive: true });
  }
}

test('a bundler that is kept sees each change, and is none the worse for a broken file', () =>
  keptBundler(async ({ dir, child, ended, ask }) => {
    const answer = async (name) => JSON.parse(await ask(name));
    const returned = async ({ bundle }) => JSON.parse((await load(bundle.script).run()).ok);
    await writeFile(join(dir, 'a.ts'), "import { b } from './b';\nexport default async () => [b, new URL('http://x/').host];\n");
    for (const color of ['red', 'green']) {
      await writeFile(join(dir, 'b.ts'), `export const b = '${color}';\n`);
      assert.deepEqual(await returned(await answer('a.ts')), [color, 'x']);
      await writeFile(join(dir, 'b.ts'), "import { connect } from 'net';\nexport const b = connect;\n");
      assert.match((await answer('a.ts')).error, /`net` is not available[^]*b\.ts:1/);
      await writeFile(join(dir, 'b.ts'), 'export const b = ;\n');
      assert.match((await answer('a.ts')).error, /Unexpected ";"[^]*b\.ts:1/);
      assert.match((await answer('none.ts')).error, /there is no file/);
    }
    // Another folder's settings, and their change.
    await writeFile(join(dir, 'b.ts'), "import { c } from '@/c';\nexport const b = c;\n");
    await writeFile(join(dir, 'c.ts'), "export const c = 'blue';\n");
    assert.match((await answer('a.ts')).error, /Could not resolve "@\/c"/);
    await writeFile(join(dir, 'tsconfig.json'), '{ "compilerOptions": { "paths": { "@/*": ["./*"] } } }');
    const last = await answer('a.ts');
    assert.deepEqual(await returned(last), ['blue', 'x']);
    assert.deepEqual(last.bundle, JSON.parse((await promisify(execFile)(process.execPath, [COMMAND, join(dir, 'a.ts')])).stdout));
    child.stdin.end();
    assert.deepEqual(await ended, [0, null]);
  }));

test('a bundler that is kept ends with its esbuild: it could build nothing any more', () =>
  keptBundler(async ({ dir, child, ended, ask }) => {
    await writeFile(join(dir, 'a.ts'), 'export default async () => 1;\n');
    assert.ok(JSON.parse(await ask('a.ts')).bundle);
    const { stdout } = await promisify(execFile)('pgrep', ['-P', child.pid]);
    process.kill(Number(stdout), 'SIGKILL');
    assert.equal(await ask('a.ts'), undefined);
    assert.deepEqual(await ended, [1, null]);
  }));

test('the command prints one line of JSON, or why there is none', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'toril-sdk-'));
  const run = (...args) => promisify(execFile)(process.execPath, [COMMAND, ...args]);
  try {
    await mkdir(join(dir, 'a'));
    await writeFile(join(dir, 'a/good.ts'), PROCESSOR);
    await writeFile(join(dir, 'a/bad.ts'), "import 'fs';\nexport default 1 +;");
    const { stdout, stderr } = await run(join(dir, 'a/good.ts'));
    assert.deepEqual([Object.keys(JSON.parse(stdout)), stdout.trimEnd().includes('\n'), stderr], [['script', 'sourceMap', 'warnings', 'inputs', 'engine', 'sdk'], false, '']);
    for (const [args, message] of [[[join(dir, 'a/bad.ts')], /\[ERROR\] Unexpected ";"[^]*bad\.ts:2/], [[join(dir, 'none.ts')], /there is no file/], [[], /usage:/]]) {
      const error = await run(...args).then(() => assert.fail('it ended well'), (caught) => caught);
      assert.deepEqual([error.code, error.stdout], [1, '']);
      assert.match(error.stderr, message);
    }
  } finally {
    await rm(dir, { recursive: true });
  }
});

test('imports of the engine that a bundle does not use are named as such', async () => {
  const unused = async (text) => (await bundled(text)).sdk.unused;
  assert.deepEqual(await unused('export default () => 1;'), ['wasi:http', 'wasi:keyvalue']);
  assert.deepEqual(await unused("import { open } from '@toril/sdk/kv'; export default () => open().get('k');"), ['wasi:http']);
  assert.deepEqual(await unused("export default () => fetch('http://a');"), ['wasi:keyvalue']);
  // A driver's own class, beside a mention of the global object.
  const driver = 'const root: any = globalThis; export default (job: any) => [root.Date, "offset 1 fetch next 5 rows", job.driver && new job.driver.Request()];';
  assert.deepEqual(await unused(driver), ['wasi:http', 'wasi:keyvalue']);
  assert.deepEqual(await unused('const root: any = globalThis; export default () => root.fetch("http://a");'), ['wasi:keyvalue']);
});

test('a bundle is run by the engine that has what it may use, and no more', async () => {
  const engine = async (text) => (await bundled(text)).engine;
  assert.equal(await engine('export default () => 1;'), 'engine-alone.wasm');
  assert.equal(await engine("import { Queue } from 'bullmq'; export default () => new Queue('q').add('n', {});"), 'engine-alone.wasm');
  assert.equal(await engine("import { open } from '@toril/sdk/kv'; export default () => open().get('k');"), 'engine.wasm');
  assert.equal(await engine("export default () => fetch('http://a');"), 'engine.wasm');
  assert.equal(await engine("export default () => new globalThis.Headers().get('a');"), 'engine.wasm');
  // What is reached by a computed name is a global all the same, or nothing.
  assert.equal(await engine("export default () => (globalThis as any)['fet' + 'ch']?.('http://a');"), 'engine-alone.wasm');
});

test('ES modules are strict, as in Node, unless CommonJS or a script is among them', async () => {
  const frozen = 'export default () => { Object.freeze({ a: 1 } as any).a = 2; };';
  const starts = async (files) => (await bundled(files)).script.startsWith('"use strict";\n');
  assert.ok(await starts(frozen));
  assert.ok(await starts({ 'a.mjs': 'import { b } from "./b.mjs"; export default () => b;', 'b.mjs': 'export const b = 1;' }));
  assert.ok(!(await starts({ 'a.cjs': 'module.exports = () => 1;' })));
  const old = { 'node_modules/old/index.js': 'exports.go = () => { leaked = 1; };', 'node_modules/old/package.json': '{}' };
  assert.ok(!(await starts({ 'a.mjs': "import { go } from 'old'; export default () => go();", ...old })));
  const script = { 'node_modules/root/index.js': 'total = 0;', 'node_modules/root/package.json': '{}' };
  assert.ok(!(await starts({ 'a.mjs': "import 'root'; export default () => total;", ...script })));
  const asker = { 'node_modules/asks/index.js': "var wall = require('./wall.js'); wall.x = 1;", 'node_modules/asks/wall.js': 'this.wall = 1;', 'node_modules/asks/package.json': '{}' };
  assert.ok(!(await starts({ 'a.mjs': "import 'asks'; export default () => 1;", ...asker })));
  assert.equal(await result("try { Object.freeze({ a: 1 }).a = 2; return 'nothing' } catch (error) { return error.name }"), 'TypeError');
});

test('lines of a strict script are those of its source', async () => {
  for (const minify of [false, true]) {
    const { script, sourceMap } = await bundled('const wall = 1;\n\nexport default () => { throw new Error(`no paint ${wall}`); };', { minify });
    const lines = script.split('\n');
    const line = lines.findIndex((text) => text.includes('no paint'));
    const found = originalPositionFor(new TraceMap(sourceMap), { line: line + 1, column: lines[line].indexOf('no paint') });
    assert.equal(`${found.source}:${found.line}`, 'processor.ts:3', `minify: ${minify}`);
  }
});
