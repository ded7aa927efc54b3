// Errors of processors in TypeScript beside those of Node: BullMQ's own worker runs the same file.
import { after, before, beforeEach, test } from 'node:test';
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { cp, mkdir, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Queue, QueueEvents, Worker } from 'bullmq';
import { startRedis, WAIT_MS } from './harness.mjs';
import { failure, project, SDK, served, source } from './scripts.mjs';

const { build } = createRequire(join(SDK, 'package.json'))('esbuild');

let redis;
before(async () => {
  redis = await startRedis();
});
after(() => redis.stop());
beforeEach(() => redis.client.flushall());

/** A package as npm has it: code, without a source map. */
const paint = `'use strict';

const upper = (color) => color.toUpperCase();

exports.mix = function mix(colors) {
  return colors.map(upper).join('+');
};

exports.mixLater = async function mixLater(colors) {
  await Promise.resolve();
  return exports.mix(colors);
};

exports.Mixer = class Mixer {
  async each(colors, work) {
    for (const color of colors) await work(color);
  }
};
`;

test('errors read as in Node: reason, and all lines of the source', async (t) => {
  const dir = await projectOfErrors(t);
  await compare({
    ours: join(dir, 'errors.ts'),
    theirs: await compiled(dir, { packages: 'external' }),
  });
});

test('errors of a file that was bundled and minified have the lines of its source', async (t) => {
  const dir = await projectOfErrors(t);
  const file = await compiled(dir, { minify: true, external: ['bullmq'] });
  await compare({ ours: file, theirs: file });
});

async function projectOfErrors(t) {
  const dir = await project(t, { 'node_modules/paint/package.json': '{ "main": "index.js" }', 'node_modules/paint/index.js': paint });
  await cp(source('errors.ts'), join(dir, 'errors.ts'));
  await symlink(join(import.meta.dirname, 'node_modules/bullmq'), join(dir, 'node_modules/bullmq'));
  await mkdir(join(dir, 'dist'));
  return dir;
}

/** The file without types, with a source map. */
async function compiled(dir, options) {
  const outfile = join(dir, 'dist/errors.mjs');
  await build({ absWorkingDir: dir, entryPoints: ['errors.ts'], outfile, bundle: true, format: 'esm', platform: 'node', sourcemap: true, logLevel: 'error', ...options });
  return outfile;
}

async function compare(files) {
  process.setSourceMapsEnabled(true);
  const { default: processor, kinds } = await import(pathToFileURL(files.theirs));
  const names = Object.keys(kinds);
  const theirs = await inNode(processor, names);
  await redis.client.flushall();
  const ours = await served(redis, files.ours, {}, (stage) => failures(stage, names));
  for (const name of names) assert.deepEqual(ours[name], expected(name, theirs[name], ours[name]), name);
}

/** What Node has, but for the differences that there are. */
function expected(name, theirs, ours) {
  const expected = { ...theirs, ...differences[name] };
  if (inWordsOfTheEngine.has(name)) {
    assert.ok(ours.failedReason, name);
    expected.failedReason = ours.failedReason;
  }
  if (otherColumns.has(name)) {
    const withoutColumn = (place) => place.replace(/:\d+$/, '');
    assert.deepEqual(ours.places.map(withoutColumn), theirs.places.map(withoutColumn), name);
    expected.places = ours.places;
  }
  if (otherPlace.has(name)) expected.places = [ours.places[0], ...theirs.places.slice(1)];
  return expected;
}

async function inNode(processor, names) {
  const queue = new Queue('ring', { connection: redis.connection });
  const events = new QueueEvents('ring', { connection: redis.connection, lastEventId: '0' });
  await events.waitUntilReady();
  const worker = new Worker('ring', processor, { connection: redis.connection });
  worker.on('error', () => {});
  try {
    return await failures({ queue, finished: (job) => job.waitUntilFinished(events, WAIT_MS) }, names);
  } finally {
    await Promise.all([worker.close(), events.close()]);
    await queue.close();
  }
}

async function failures(stage, names) {
  const failed = {};
  for (const name of names) failed[name] = shown(await failure(stage, name, {}, { attempts: 2 }));
  return failed;
}

/** What V8 and QuickJS say in words of their own. */
const inWordsOfTheEngine = new Set([
  'not a function', 'function that is a field', 'no class', 'no iterable', 'destructuring', 'in', 'regular expression', 'URL',
  // V8 adds the way to the value that is cyclic.
  'cyclic value',
]);

/** Where the engines name other places of a line. */
const otherColumns = new Set([
  // V8 names the variable of a loop, and ours the loop; V8 names the property of a pattern, and ours its first token.
  'generator', 'iterator', 'destructuring',
  // The bundler calls what is imported from CommonJS as `(0, module.name)()`: V8 names the parentheses of the call.
  'package',
]);

/** V8 names the call, and ours the argument that cannot be spread. */
const otherPlace = new Set(['no iterable']);

const differences = {
  // What is thrown and is no error has no reason in Node. Of `undefined` Node counts no attempt.
  'text': { failedReason: 'just a text' },
  'number': { failedReason: '42' },
  'undefined': { failedReason: 'undefined', attemptsMade: 2 },
  'rejected text': { failedReason: 'rejected with a text' },
};

/** Reason, attempts, and all places of the source in the stack. Causes are a part of our stacks alone. */
const shown = ({ failedReason, attemptsMade, stacktrace }) => {
  const [own] = String(stacktrace?.[0] ?? '').split('Caused by:');
  return { failedReason, attemptsMade, places: own.match(/(?:errors\.ts|paint\/index\.js):\d+:\d+/g) ?? [] };
};
