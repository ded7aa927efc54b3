// What the sections of the benchmark share: a private Redis, clocks of processors, medians.

import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { cpus, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const require = createRequire(join(dirname(fileURLToPath(import.meta.url)), '../tests/interop/package.json'));
export const { FlowProducer, Queue, QueueEvents } = require('bullmq');
const Redis = require('ioredis');

/** Clock ticks per second of /proc; Linux on every machine that this runs on. */
const TICKS = 100;

export function freePort() {
  return new Promise((resolve) => {
    const server = createServer();
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export async function until(what, ask, everyMs = 2) {
  const end = Date.now() + 300_000;
  while (!(await ask())) {
    if (Date.now() > end) throw new Error(`never happened: ${what}`);
    await pause(everyMs);
  }
}

const launched = new Set();
process.once('exit', () => launched.forEach((child) => child.kill('SIGKILL')));
for (const [signal, code] of [['SIGINT', 130], ['SIGTERM', 143]]) process.once(signal, () => process.exit(code));

/** Starts a process that does not outlive this one: one left behind would take from every later measurement. */
export function launch(program, args, options) {
  const child = spawn(program, args, options);
  launched.add(child);
  child.once('exit', () => launched.delete(child));
  return child;
}

/** A Redis without persistence, the queue `bench` in it, and a directory for files of the peers. */
export async function place() {
  const dir = mkdtempSync(join(tmpdir(), 'toril-bench-'));
  const port = await freePort();
  const server = launch('redis-server', ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no',
    '--maxmemory-policy', 'noeviction', '--dir', dir], { stdio: 'ignore' });
  const connection = { host: '127.0.0.1', port };
  const redis = new Redis(connection);
  // Until the server listens.
  redis.on('error', () => {});
  await redis.ping();
  const queue = new Queue('bench', { connection });
  const close = async () => {
    await queue.close();
    redis.disconnect();
    server.kill();
    rmSync(dir, { recursive: true, force: true });
  };
  return { dir, port, connection, redis, queue, close };
}

/** Processor time of a process and its children, in microseconds: of those that have ended, too. */
export function cpu(pid) {
  const own = (stat) => stat.split(') ')[1].split(' ').slice(11, 15).reduce((sum, ticks) => sum + Number(ticks), 0);
  const ofChild = (child) => {
    try {
      return own(readFileSync(`/proc/${child}/stat`, 'utf8'));
    } catch (error) {
      // It has ended meanwhile: its parent has its time.
      if (!['ENOENT', 'ESRCH'].includes(error.code)) throw error;
      return 0;
    }
  };
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean);
  const ticks = children.reduce((sum, child) => sum + ofChild(child), 0) + own(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  return ticks / TICKS * 1e6;
}

/** Processor time of Redis, in microseconds: by its own account, which is finer than the clock ticks of /proc. */
export async function redisCpu(redis) {
  const used = [...(await redis.info('cpu')).matchAll(/^used_cpu_(?:user|sys):([\d.]+)/gm)];
  return used.reduce((sum, [, seconds]) => sum + Number(seconds), 0) * 1e6;
}

/** Resident memory of a process, in KiB. */
export function resident(pid) {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]);
}

/** Memory of a process, in KiB, in which pages that stand in several places of it count once. Slower than `resident`. */
export function proportional(pid) {
  return Number(/^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))[1]);
}

/** Since the server started: time in scripts, in microseconds, and commands that scripts and workers sent. */
export async function redisWork(redis) {
  const work = { micros: 0, commands: 0 };
  for (const [, name, calls, usec] of (await redis.info('commandstats')).matchAll(/^cmdstat_([^:]+):calls=(\d+),usec=(\d+)/gm)) {
    if (name === 'evalsha') work.micros += Number(usec);
    // What the benchmark itself asks.
    if (!['info', 'zcard', 'evalsha'].includes(name)) work.commands += Number(calls);
  }
  return work;
}

export const completed = (redis) => redis.zcard('bull:bench:completed');

/** Adds `count` jobs of about 120 bytes. */
export async function preload(queue, count) {
  for (let at = 0; at < count; at += 1000) {
    await queue.addBulk(Array.from({ length: Math.min(1000, count - at) }, (_, n) => (
      { name: 'paint', data: { wall: at + n, color: 'eggshell white', layers: 2, room: 'the one that looks out on the garden' } })));
  }
}

export function percentile(values, part) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))];
}

export const median = (values) => percentile(values, 0.5);
export const rounded = (value) => Number(value.toFixed(3));

/** The median of each figure over the runs. */
export function medians(runs) {
  return Object.fromEntries(Object.keys(runs[0]).map((key) => [key, rounded(median(runs.map((run) => run[key])))]));
}

export const cores = cpus().length;
