// The npm packages as a user has them: `npm install --save-dev toril` in an empty directory, then `npx toril`.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { Queue, QueueEvents } from 'bullmq';
import { eventually, startRedis, toril, WAIT_MS } from './harness.mjs';
import { startRegistry } from './npm-registry.mjs';

const runs = promisify(execFile);
const root = resolve(import.meta.dirname, '../..');
/** The engine and the first component are compiled. */
const FIRST_JOB_MS = 180_000;

const PAINT = `import { Job } from 'bullmq';

export default async function (job: Job<{ walls: number; waitMs?: number }>) {
  await job.log(\`painting \${job.data.walls} walls\`);
  await new Promise((dry) => setTimeout(dry, job.data.waitMs ?? 0));
  return { cost: job.data.walls * 100 };
}
`;

let dir;
let project;
let registry;
let redis;
let platform;

before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'toril-npm-'));
  const packed = runs('node', [join(root, 'scripts/pack-npm.mjs'), '--out', join(dir, 'tarballs'), '--binary', toril]);
  const [{ stdout }, server] = await Promise.all([packed, startRedis()]);
  redis = server;
  const tarballs = stdout.trim().split('\n');
  platform = tarballs[0].match(/toril-((?:linux|darwin)-.+)-\d+\.\d+\.\d+\.tgz$/)[1];
  registry = await startRegistry(tarballs);
  project = join(dir, 'project');
  await mkdir(project);
  await writeFile(join(project, 'package.json'), '{"private":true}');
  await install();
  await writeFile(join(project, 'paint.ts'), PAINT);
});
after(async () => {
  await Promise.all([registry?.stop(), redis?.stop()]);
  await rm(dir, { recursive: true });
});

/** The environment of a user: with a cache of their own, and nothing of a checkout of Toril. */
function env() {
  const { TORIL_JS_SDK, ...rest } = process.env;
  return { ...rest, XDG_CACHE_HOME: join(dir, 'cache'), npm_config_update_notifier: 'false' };
}

/** `npm install` in the project, which had nothing before. */
function install(...options) {
  const args = ['install', '--save-dev', 'toril', '--registry', registry.url, '--no-audit', '--no-fund', ...options];
  return runs('npm', args, { cwd: project, env: env() });
}

/** What a command printed, and its exit code. */
async function npx(...args) {
  try {
    return { code: 0, ...(await runs('npx', ['toril', ...args], { cwd: project, env: env() })) };
  } catch ({ code, stdout, stderr }) {
    return { code, stdout, stderr };
  }
}

const launcher = () => join(project, 'node_modules/toril/bin/toril.mjs');

test('npm installs the command, the SDK and one binary', async () => {
  assert.deepEqual((await readdir(join(project, 'node_modules/@toril'))).sort(), [platform, 'sdk'].sort());
});

test('npx toril is the binary', async () => {
  const [packed, built] = await Promise.all([npx('--version'), runs(toril, ['--version'])]);
  assert.equal(packed.stdout, built.stdout);
});

test('a processor in TypeScript runs its first job', async (t) => {
  const start = performance.now();
  const { stdout, stderr } = await npx('run', 'paint.ts', '--data', '{"walls":4}');
  assert.match(stdout, /completed: \{"cost":400\}/, stderr);
  t.diagnostic(`with the packages installed, the first job completed after ${Math.round(performance.now() - start)} ms`);
});

test('npx toril dev serves a processor in TypeScript, and swaps it when it is saved', async () => {
  const file = join(project, 'paint.ts');
  const { log } = await serving('paint', 'npx', ['toril', 'dev'], async (child, told) => {
    await told(/paint\/\d+ {3}log\("painting 3 walls"\)/);
    await writeFile(file, PAINT.replace('walls * 100', 'walls * 200'));
    await told(/paint: serves version .*paint: serves version /s);
    await writeFile(file, PAINT);
    child.kill('SIGTERM');
  });
  assert.match(log, /paint\/\d+ completed in \d+ ms: \{"cost":300\}/);
});

test('a file outside of the project is built with the SDK that came with the command', async () => {
  const elsewhere = join(dir, 'elsewhere.ts');
  await writeFile(elsewhere, PAINT);
  const { stdout, stderr } = await npx('run', elsewhere, '--data', '{"walls":2}');
  assert.match(stdout, /completed: \{"cost":200\}/, stderr);
});

test('exit codes are those of the binary', async () => {
  assert.equal((await npx('run', 'absent.ts')).code, 1);
  assert.equal((await npx('paint')).code, 2);
});

/** Serves a queue with a command; `end` ends it while a job runs. Returns the exit code and the log of all its processes. */
async function serving(queueName, command, args, end) {
  const child = spawn(command, args, { cwd: project, env: { ...env(), TORIL_REDIS: redis.url }, stdio: 'pipe' });
  let log = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (log += chunk));
  // Not before all processes that write to the log have ended.
  const ended = once(child, 'close');
  const queue = new Queue(queueName, { connection: redis.connection });
  const events = new QueueEvents(queueName, { connection: redis.connection, lastEventId: '0' });
  const told = (pattern) => eventually(`it says ${pattern}`, () => pattern.test(log), FIRST_JOB_MS);
  const served = () => told(/serving|serves version/);
  try {
    await Promise.all([events.waitUntilReady(), served()]);
    const job = await queue.add('walls', { walls: 3, waitMs: 1_000 });
    await eventually('the job runs', async () => (await job.getState()) === 'active');
    await end(child, told);
    assert.deepEqual(await job.waitUntilFinished(events, WAIT_MS), { cost: 300 });
    const [code] = await ended;
    return { code, log };
  } catch (error) {
    error.message += `\nlog of the host:\n${log}`;
    throw error;
  } finally {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
    await Promise.all([queue.close(), events.close()]);
  }
}

const SERVE = (queue) => ['serve', '--queue', `${queue}=paint.ts`];

/** A host that gets a second signal gives its jobs back, and says so. */
function assertStoppedOnce(log) {
  assert.match(log, /stopped/);
  assert.doesNotMatch(log, /second signal: running/);
}

test('SIGTERM to npx reaches the host, which lets its job end', async () => {
  const { log } = await serving('by-npx', 'npx', ['toril', ...SERVE('by-npx')], (child) => child.kill('SIGTERM'));
  assertStoppedOnce(log);
});

test('SIGHUP and SIGINT to the command reach the host once', async () => {
  const { code, log } = await serving('by-signal', launcher(), SERVE('by-signal'), (child) => {
    child.kill('SIGHUP');
    child.kill('SIGINT');
  });
  assert.equal(code, 0);
  assertStoppedOnce(log);
});

test('Ctrl-C on a terminal is one signal, not two', async () => {
  const command = ['npx', 'toril', ...SERVE('by-terminal')].join(' ');
  const { log } = await serving('by-terminal', ...onTerminal(command), (child) => child.stdin.write('\x03'));
  assertStoppedOnce(log);
});

/** util-linux and macOS have different commands of this name. */
function onTerminal(command) {
  if (process.platform === 'darwin') return ['script', ['-q', '/dev/null', ...command.split(' ')]];
  return ['script', ['--quiet', '--return', '--command', command, '/dev/null']];
}

test('a binary that is killed ends the command in the same way', async () => {
  const child = spawn(launcher(), SERVE('killed'), { cwd: project, env: { ...env(), TORIL_REDIS: redis.url }, stdio: ['ignore', 'ignore', 'pipe'] });
  const ended = once(child, 'exit');
  await once(child.stderr, 'data');
  await runs('pkill', ['-KILL', '-P', String(child.pid)]);
  assert.deepEqual(await ended, [null, 'SIGKILL']);
});

test('platforms without a binary are told which ones have one', async () => {
  const { findBinary } = await import(join(project, 'node_modules/toril/lib/binary.mjs'));
  const found = (platform, arch, libc) => () => findBinary({ platform, arch, libc });
  assert.throws(found('freebsd', 'x64'), /no binary for freebsd-x64, only for linux-x64-gnu.*cargo install/s);
  assert.throws(found('linux', 'x64', 'musl'), /no binary for linux-x64-musl/);
  assert.throws(found('win32', 'x64'), /Windows Subsystem for Linux/);
});

// The last one: it takes the binary away.
test('an installation without optional dependencies says what is missing', async () => {
  await install('--omit=optional');
  const { code, stderr } = await npx('--version');
  assert.equal(code, 1);
  assert.match(stderr, new RegExp(`^error: the package \`@toril/${platform}\`, which has the binary`));
  assert.match(stderr, new RegExp(`hint: .*npm install --save-optional @toril/${platform}@\\d`, 's'));
});
