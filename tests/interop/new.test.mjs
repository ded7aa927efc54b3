// `toril new` in every language: the project builds, runs a job, and passes its case.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { toril } from './harness.mjs';
import { languages, PATIENCE_MS, sdk } from './languages.mjs';

const runs = promisify(execFile);
const files = {
  typescript: 'processor.ts',
  javascript: 'processor.js',
  python: 'processor.py',
  go: 'main.go',
  c: 'processor.c',
  rust: 'src/lib.rs',
};

let dir;
before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'toril-new-'));
});
after(() => rm(dir, { recursive: true }));

/** What a project needs before it builds, where the SDK of the checkout is not there already. */
async function install(lang, project, env) {
  if (!lang.endsWith('script')) return env;
  await runs('npm', ['install', '--no-audit', '--no-fund'], { cwd: project });
  // From here on the package is the project's own.
  const { TORIL_JS_SDK: _, ...others } = env;
  return others;
}

describe('a new project', { timeout: PATIENCE_MS }, () => {
  for (const [lang, file] of Object.entries(files)) {
    const { skip } = languages[lang];
    test(`in ${lang} runs a job and passes its case`, { skip }, async () => {
      const name = `paint-${lang}`;
      await runs(toril, ['new', name, '--lang', lang, '--sdk', sdk], { cwd: dir });
      const project = join(dir, name);
      const env = await install(lang, project, languages[lang].env);
      const command = async (...args) => (await runs(toril, ['--log', 'warn', ...args], { cwd: project, env })).stdout;
      await command('build', file, '--out', 'built.wasm');
      const ran = JSON.parse(await command('run', 'built.wasm', '--data', '{"walls":4}', '--json'));
      assert.deepEqual(ran.outcome, { kind: 'completed', value: { cost: 400 } });
      assert.match(await command('test'), /^ok {7}four-walls .*\n1 passed in /);
      // The processor refuses what it cannot do, for good.
      const none = command('run', 'built.wasm', '--data', '{"walls":0}', '--json');
      const { outcome } = JSON.parse((await none.catch((failed) => failed)).stdout);
      assert.equal(outcome.failedReason, 'there are no walls to paint');
      assert.equal(outcome.unrecoverable, true);
      if (lang === 'typescript') await runs('npm', ['run', 'check'], { cwd: project });
    });
  }
});
