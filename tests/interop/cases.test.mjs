// `toril test` on the worked examples: their cases pass, in every language.
import { describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { resolve } from 'node:path';
import { promisify } from 'node:util';
import { toril } from './harness.mjs';
import { languages, PATIENCE_MS } from './languages.mjs';

const examples = resolve(import.meta.dirname, '../../examples');

/** A component in Python takes half a minute to build: the other examples are built by `python.test.mjs`. */
const filters = { python: ['--filter', 'chained-flow', '--filter', 'upload-batch'] };

/** What `toril test --json` reports of a directory. */
async function report(dir, env, filter = []) {
  const ran = promisify(execFile)(toril, ['--log', 'warn', 'test', dir, '--json', ...filter], { env, maxBuffer: 1 << 26 });
  const { stdout, stderr } = await ran.catch((failed) => failed);
  assert.ok(stdout, stderr);
  return JSON.parse(stdout);
}

describe('cases of the worked examples', { timeout: PATIENCE_MS }, () => {
  for (const lang of ['typescript', 'python', 'go', 'c', 'rust']) {
    const { env, skip } = languages[lang];
    test(lang, { skip }, async () => {
      const { cases, processors } = await report(resolve(examples, lang), env, filters[lang]);
      const wrong = cases.filter(({ result }) => result !== 'passed');
      assert.deepEqual(wrong, []);
      // Each processor has several cases, or at least one.
      assert.ok(processors.length <= cases.length && cases.length >= 4, `${processors.length} of ${cases.length}`);
    });
  }
});
