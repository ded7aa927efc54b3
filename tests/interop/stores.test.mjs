// Key-value stores from Python, Go and C: the same calls come to the same, byte for byte, and only a processor that uses stores
// needs a grant for them. `kv.test.mjs` has those of Rust and TypeScript.
import { after, before, beforeEach, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { execFile } from 'node:child_process';
import * as go from './go.mjs';
import { run as command, served as servedWith, startRedis, toril } from './harness.mjs';
import * as python from './python.mjs';

const timeout = 20 * 60_000;
const root = resolve(import.meta.dirname, '../..');
const grants = { kv: { stores: ['default'], shared: ['rates'] } };
let redis;
let dir;
before(async () => {
  redis = await startRedis();
  dir = await mkdtemp(join(tmpdir(), 'toril-stores-'));
});
after(() => Promise.all([redis.stop(), rm(dir, { recursive: true })]));
beforeEach(() => redis.client.flushall());

/** The component of a file in C; its warnings fail the test. */
async function inC(file) {
  const to = join(dir, 'stores.wasm');
  const env = { ...process.env, TORIL_CFLAGS: '-Wall -Wextra -Wpedantic -Werror' };
  await promisify(execFile)(toril, ['build', join(root, file), '--out', to], { env });
  return to;
}

const LANGUAGES = {
  Python: {
    skip: await python.skipped(),
    component: () => python.component('tests/fixtures/python/stores.py'),
    without: () => python.component('examples/python/step_job.py'),
  },
  Go: {
    skip: await go.skipped(),
    component: () => go.component('tests/fixtures/go/stores'),
    without: () => go.component('examples/go/step-job'),
  },
  C: {
    skip: false,
    component: () => inC('tests/fixtures/c/stores.c'),
    without: () => inC('examples/c/step-job.c'),
  },
};

const refusal = 'key-value store `vault` was refused: not in grants.kv of queue `ring`\n'
  + 'hint: add `vault` to `grants.kv.stores` of the queue, or to `grants.kv.shared` if other queues use it';

for (const [language, { skip, component, without }] of Object.entries(LANGUAGES)) {
  describe(`stores in ${language}`, { skip, timeout }, () => {
    const served = async (names, body, options = {}) =>
      servedWith(redis, { processor: await component(), grants, ...options }, names, body, python.PATIENCE_MS);

    test('each call does what the interface says, and its errors have codes', () =>
      served(['ring'], async ({ run }) => {
        assert.deepEqual(await run('every call'), {
          keys: ['a', 'b', 'bytes', 'json', 'text'],
          text: 'grün!',
          bytes: [0, 255],
          json: { walls: [1, 2] },
          many: [null, [50]],
          missing: null,
          exists: [true, false],
          sums: [5, -2, 1],
          mind: 'changed its mind',
          refused: [
            ['denied', refusal],
            ['invalid', '`a:b` cannot be the name of a store'],
            ['failed', 'key is empty'],
            ['failed', 'value is not an integer of 64 bits'],
            ['denied', refusal],
          ],
        });
        assert.equal(await redis.client.get('toril:{bull}:kv-shared:rates:n'), '1');
      }));

    test('no update is lost, whoever writes meanwhile', () =>
      served(['ring'], async ({ queue, finished }) => {
        const jobs = await queue.addBulk(Array.from({ length: 50 }, (_, n) => ({ name: 'append', data: n })));
        await Promise.all(jobs.map((job) => finished(job)));
        const list = JSON.parse(await redis.client.get('toril:{bull:ring}:kv:default:list'));
        assert.deepEqual(list.sort((a, b) => a - b), jobs.map((_, n) => n));
        assert.equal(await redis.client.get('toril:{bull:ring}:kv:default:count'), '50');
      }, { concurrency: 8 }));

    test('a store of more keys than an answer has is walked to its end', () =>
      served(['ring'], async ({ run }) => assert.equal(await run('many keys'), 1001)));

    test('a call leaves no handle behind, however it ends', () =>
      // An attempt may have 1,024.
      served(['ring'], async ({ run }) => assert.equal(await run('many calls'), 1100)));

    test('a processor that uses no store imports none', async () => {
      assert.doesNotMatch(await command('check', await without()), /keyvalue|grant/);
      const used = await command('check', await component()).catch((error) => error.stdout + error.stderr);
      assert.match(used, /needs a grant: component imports `wasi:keyvalue/);
    });
  });
}

test('wrong values in Python', { skip: LANGUAGES.Python.skip, timeout }, async () => {
  const section = { processor: await LANGUAGES.Python.component(), grants };
  await servedWith(redis, section, ['ring'], async ({ run }) => {
    assert.deepEqual(await run('wrong values'), [
      ['TypeError', 'a value is a text or bytes; `set_json` takes any other'],
      ['KvError', '`9223372036854775808` is not an integer of 64 bits'],
      ['TypeError', 'a value is a text or bytes; `set_json` takes any other'],
      ['TypeError', 'Object of type object is not JSON serializable'],
      ['ValueError', 'value of `x` is not JSON: Expecting value: line 1 column 1 (char 0)'],
      'half \ufffd of a pair',
    ]);
  }, python.PATIENCE_MS);
});

test('a processor in Python without `async` gets results themselves', { skip: LANGUAGES.Python.skip, timeout }, async () => {
  const section = { processor: await LANGUAGES.Python.component(), grants };
  await servedWith(redis, section, ['vat'], async ({ run }) => {
    assert.deepEqual(await run('any'), ['red', 1, ['n', 'text']]);
  }, python.PATIENCE_MS);
});

test('wrong values in Go', { skip: LANGUAGES.Go.skip, timeout }, async () => {
  const section = { processor: await LANGUAGES.Go.component(), grants };
  await servedWith(redis, section, ['ring'], async ({ run }) => {
    assert.deepEqual(await run('wrong values'), [
      [99, 97, 102, 233], true, '`caf\ufffd` cannot be the name of a store', 'value of `empty` does not fit: unexpected end of JSON input',
    ]);
  }, go.PATIENCE_MS);
});

test('wrong values in C', { timeout }, async () => {
  await servedWith(redis, { processor: await LANGUAGES.C.component(), grants }, ['ring'], async ({ run }) => {
    assert.deepEqual(await run('wrong values'), [[99, 97, 102, 233], [], '`caf\ufffd` cannot be the name of a store']);
  });
});
