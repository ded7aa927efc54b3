// `toril dev`, on a pseudo-terminal and without one; `toril build` of directories; and processors in Rust from their source.
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { describe, it } from 'node:test';
import { promisify } from 'node:util';
import { eventually, toril } from './harness.mjs';

const root = resolve(import.meta.dirname, '../..');
const env = { ...process.env, TORIL_JS_SDK: join(root, 'sdk/js') };
delete env.TORIL_REDIS;

const PAINT = `import type { Job } from 'bullmq';

export default async function (job: Job<{ walls: number }>) {
  await job.log(\`painting \${job.data.walls} walls\`);
  if (job.data.walls < 1) {
    throw new Error('nothing to paint');
  }
  await job.updateProgress(50);
  console.log('half of them');
  return { cost: job.data.walls * 100 };
}
`;

/** A crate that depends on nothing, so that it compiles in a moment. It is no processor. */
const CRATE = {
  'rust-toolchain.toml': await readFile(join(root, 'rust-toolchain.toml'), 'utf8'),
  'Cargo.toml': '[package]\nname = "painter"\nedition = "2024"\n\n[lib]\ncrate-type = ["cdylib"]\n\n[workspace]\n',
  'src/lib.rs': '#[unsafe(no_mangle)]\npub extern "C" fn walls() -> u32 {\n    4\n}\n',
};

/** Runs `body` in a directory with these files. */
async function withFiles(files, body) {
  const dir = await mkdtemp(join(tmpdir(), 'toril-dev-'));
  try {
    for (const [name, text] of Object.entries(files)) {
      await mkdir(join(dir, name, '..'), { recursive: true });
      await writeFile(join(dir, name), text);
    }
    return await body(dir);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

/** A `toril dev` whose output is read while it runs. `terminal` puts it on one, by `script` of util-linux. */
function startDev(dir, { terminal, more = {} }) {
  const command = terminal ? ['script', '-qfec', `${toril} dev ${dir}`, '/dev/null'] : [toril, 'dev', dir];
  const child = spawn(command[0], command.slice(1), { env: { ...env, ...more }, stdio: ['pipe', 'pipe', 'pipe'] });
  let output = '';
  let seen = 0;
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output += chunk));
  // Not before all that it printed is read.
  const closed = once(child, 'close');
  return {
    /** Waits until it has printed this after what was waited for before; returns the match. */
    async prints(pattern, patienceMs = 60_000) {
      const match = await eventually(`it prints ${pattern}`, () => {
        const found = pattern.exec(output.slice(seen));
        if (!found && child.exitCode !== null) throw new Error('it ended');
        return found;
      }, patienceMs).catch((error) => {
        error.message += `\nit printed:\n${output}\nlooked at from:\n${output.slice(seen)}`;
        throw error;
      });
      seen += match.index + match[0].length;
      return match;
    },
    press: (key) => child.stdin.write(key),
    output: () => output,
    signal: (name) => child.kill(name),
    async ended() {
      const [code] = await closed;
      return code;
    },
  };
}

/** Runs the command that `toril dev` says adds a first job, with other data. */
async function addFirst(dev, data) {
  const [, command] = await dev.prints(/add a first job from another terminal: toril ([^\r\n]+)/);
  const add = async (data) => {
    const args = command.replace("'{}'", JSON.stringify(data)).split(' ');
    await promisify(execFile)(toril, args, { env });
  };
  await add(data);
  return add;
}

const run = (...args) => promisify(execFile)(toril, ['--log', 'warn', ...args], { env });
const refused = (...args) => run(...args).then(() => assert.fail('it works'), ({ stderr }) => stderr);

describe('toril dev', () => {
  it('on a terminal: jobs and their calls, errors with their source, a swap when a file is saved, and keys', async () => {
    // An editor that doubles the number of walls.
    const editor = '#!/bin/sh\nsed -i "s/4/8/" "$1"\n';
    await withFiles({ 'paint.ts': PAINT, editor }, async (dir) => {
      await chmod(join(dir, 'editor'), 0o755);
      const dev = startDev(dir, { terminal: true, more: { TERM: 'xterm', EDITOR: join(dir, 'editor'), VISUAL: '' } });
      const add = await addFirst(dev, { walls: 0 });
      await dev.prints(/a add the last job again/);
      await dev.prints(/paint: serves version [0-9a-f]{12}/);
      await dev.prints(/paint\/1 first \{"walls":0\}/);
      await dev.prints(/paint\/1 {3}log\("painting 0 walls"\)/);
      await dev.prints(/paint\/1 failed: nothing to paint/);
      await dev.prints(/--> paint\.ts:6:11\r?\n {2}6 \| {5}throw new Error\('nothing to paint'\);\r?\n {4}\| {11}\^/);

      await add({ walls: 4 });
      await dev.prints(/paint\/2 {3}update-progress\(50\)/);
      await dev.prints(/paint\/2 {3}log\(INFO, "half of them"\)/);
      await dev.prints(/paint\/2 completed in \d+ ms: \{"cost":400\}/);
      dev.press('a');
      await dev.prints(/paint\/3 completed in \d+ ms: \{"cost":400\}/);
      dev.press('e');
      await dev.prints(/paint\/4 first \{"walls":8\}/);
      await dev.prints(/paint\/4 completed in \d+ ms: \{"cost":800\}/);

      // One that does not build: the old one goes on.
      await writeFile(join(dir, 'paint.ts'), PAINT.replace('job.data.walls < 1', 'job.data.walls <'));
      await dev.prints(/paint: refused: .*paint\.ts/s);
      dev.press('a');
      await dev.prints(/paint\/5 completed in \d+ ms: \{"cost":800\}/);

      const saved = performance.now();
      await writeFile(join(dir, 'paint.ts'), PAINT.replace("throw new Error('nothing to paint')", "return 'nothing'"));
      await dev.prints(/paint: serves version/);
      console.log(`# saved to swapped in ${Math.round(performance.now() - saved)} ms`);
      dev.press('r');
      await dev.prints(/paint\/1 completed in \d+ ms: "nothing"/);
      dev.press('q');
      assert.equal(await dev.ended(), 0);
      // A clean terminal is left: no line of keys.
      assert.match(dev.output(), /\r\x1b\[2K$/);
    });
  });

  it('without a terminal: lines, no keys, and the queues of toril.toml', async () => {
    const config = '[queues.paint]\nprocessor = "src/paint.ts"\n\n[queues.varnish]\nprocessor = "src/paint.ts"\nprefix = "other"\n';
    await withFiles({ 'src/paint.ts': PAINT, 'toril.toml': config }, async (dir) => {
      const dev = startDev(dir, { terminal: false });
      await dev.prints(/redis {2}redis:\/\/127\.0\.0\.1:\d+, started for this project, with its data in `\.toril\/redis`/);
      await dev.prints(/queue {2}paint: src\/paint\.ts\nqueue {2}varnish: src\/paint\.ts\n/);
      const add = await addFirst(dev, { walls: 2 });
      await dev.prints(/paint\/1 completed in \d+ ms: \{"cost":200\}/);
      const again = await refused('dev', dir);
      assert.match(again, /error: another `toril dev` already serves this project/);
      await add({ walls: -1 });
      await dev.prints(/paint\/2 failed: nothing to paint\n.*--> src\/paint\.ts:6:11\n/s);
      // The config is taken up when it is saved.
      await writeFile(join(dir, 'toril.toml'), `${config}\n[queues.sand]\nprocessor = "src/paint.ts"\n`);
      await dev.prints(/sand: serves version/);
      assert.doesNotMatch(dev.output(), /\x1b|add the last job/);
      dev.signal('SIGTERM');
      assert.equal(await dev.ended(), 0);
    });
  });

  it('waits for a processor that does not build at first', async () => {
    await withFiles({ 'paint.ts': 'export default async function ( {' }, async (dir) => {
      const dev = startDev(dir, { terminal: false });
      await dev.prints(/paint: refused: .*paint\.ts/s);
      await writeFile(join(dir, 'paint.ts'), PAINT);
      await dev.prints(/paint: serves version/);
      dev.signal('SIGINT');
      assert.equal(await dev.ended(), 0);
    });
  });
});

describe('toril build', () => {
  it('of a directory builds the one processor, or those of toril.toml', async () => {
    await withFiles({ 'paint.ts': PAINT, 'paint.test.ts': '' }, async (dir) => {
      const { stdout } = await run('build', dir);
      assert.match(stdout, new RegExp(`^${dir}/dist/paint\\.wasm\n {2}size {5}\\d+ bytes\n {2}imports\n`));
      await writeFile(join(dir, 'varnish.ts'), PAINT);
      const several = await refused('build', dir);
      assert.match(several, /several files .*paint\.ts\n.*varnish\.ts\nhint: name one/s);
      await writeFile(join(dir, 'toril.toml'), '[queues.a]\nprocessor = "paint.ts"\n[queues.b]\nprocessor = "varnish.ts"\n[queues.c]\n');
      await run('build', dir);
      assert.ok((await stat(join(dir, 'dist/a.wasm'))).size > 0 && (await stat(join(dir, 'dist/b.wasm'))).size > 0);
    });
  });

  it('of a Rust crate leaves the component where cargo puts it; the commands take the file', async () => {
    // Its workspace has a profile for processors, by which the guests of all tests are built.
    const crate = join(root, 'tests/fixtures/version');
    const ran = await run('run', join(crate, 'src/lib.rs'));
    assert.match(ran.stdout, /completed: "good-00000"/);
    const { stdout } = await run('build', crate);
    assert.match(stdout, /\/wasm32-wasip2\/processor\/fixture_version\.wasm\n {2}size/);
    await assert.rejects(stat(join(crate, 'dist')));
  });

  it('of a Rust crate shows what rustc says', async () => {
    await withFiles(CRATE, async (dir) => {
      const file = join(dir, 'src/lib.rs');
      const built = async (line) => {
        await writeFile(file, CRATE['src/lib.rs'].replace('    4\n', `${line}\n`));
        return refused('build', file);
      };
      assert.match(await built('    let unused = 1;\n    4'), /^warning: unused variable: `unused`\n +--> src\/lib\.rs:3:9/m);
      assert.match(await built('    doors'), /error\[E0425\]: cannot find value `doors` in this scope\n +--> src\/lib\.rs:3:5/);
      await writeFile(join(dir, 'Cargo.toml'), CRATE['Cargo.toml'].replace('crate-type = ["cdylib"]', ''));
      assert.match(await built('    4'), /does not produce a component\nhint: add `crate-type = \["cdylib"\]`/);
    });
  });

  it('of a CommonJS file in a project of ES modules says how the file should be named', async () => {
    const files = { 'package.json': '{ "type": "module" }', 'paint.js': 'module.exports = async () => 1;' };
    await withFiles(files, async (dir) => {
      const said = await refused('build', join(dir, 'paint.js'));
      assert.match(said, /caused by: ReferenceError: module is not defined[^]*paint\.js:1:/);
      assert.match(said, /"type": "module"[^]*"\.cjs" file extension/);
    });
  });

  it('says what is missing', async () => {
    await withFiles(CRATE, async (dir) => {
      env.TORIL_CARGO = 'no-such-cargo';
      assert.match(await refused('build', dir), /`no-such-cargo` was not found\nhint: install Rust/);
      // A cargo that says what rustc says without the target.
      await writeFile(join(dir, 'cargo'), '#!/bin/sh\necho "error[E0463]: can\'t find crate for core: the \\`wasm32-wasip2\\` target may not be installed" >&2\nexit 101\n');
      await chmod(join(dir, 'cargo'), 0o755);
      env.TORIL_CARGO = join(dir, 'cargo');
      assert.match(await refused('build', dir), /is not installed\nhint: run `rustup target add wasm32-wasip2`/);
      delete env.TORIL_CARGO;
    });
  });
});
