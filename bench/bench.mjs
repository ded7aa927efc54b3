// `make bench`: the same preloaded jobs through Toril and through BullMQ's own workers, interleaved, on a private
// Redis without persistence. Prints medians and ratios, and writes results.json and throughput.svg beside itself.
//
// Environment: ROUNDS [3], CONCURRENCIES [1,10,50,200], PEERS [all], JOBS [20000].

import { spawn, execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync, mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { cpus, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { plot } from './plot.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const require = createRequire(join(here, '../tests/interop/package.json'));
const { Queue } = require('bullmq');
const Redis = require('ioredis');

const target = process.env.CARGO_TARGET_DIR ?? join(here, '../target');
const rounds = Number(process.env.ROUNDS ?? 3);
const concurrencies = (process.env.CONCURRENCIES ?? '1,10,50,200').split(',').map(Number);
const jobs = Number(process.env.JOBS ?? 20000);
/** Counted from here on: starting up is not what is measured. */
const WARM = 100;
/** Clock ticks per second of /proc; Linux on every machine that this runs on. */
const TICKS = 100;

/** Each peer: how to start it, and which share of the jobs it gets (a slow one needs fewer to be measured). */
const peers = {
  toril: { start: (port, c, dir) => toril(port, c, dir, ''), share: 1 },
  'toril-reuse': { start: (port, c, dir) => toril(port, c, dir, 'reuse = { jobs = 1000000 }'), share: 1 },
  'node-inline': { start: (port, c) => node(port, c, 'inline'), share: 1 },
  'node-sandbox-process': { start: (port, c) => node(port, c, 'process'), share: 0.1, most: 50 },
  'node-sandbox-thread': { start: (port, c) => node(port, c, 'thread'), share: 0.1, most: 50 },
};
const wanted = process.env.PEERS?.split(',') ?? Object.keys(peers);

function toril(port, concurrency, dir, options) {
  const processor = join(target, 'wasm32-wasip2/processor/fixture_noop.wasm');
  const config = join(dir, 'toril.toml');
  writeFileSync(config, `redis = "redis://127.0.0.1:${port}"\n[runtime]\ncache_dir = "${dir}/cache"\n` +
    `[queues.bench]\nprocessor = "${processor}"\nconcurrency = ${concurrency}\n${options}\n`);
  return spawn(join(target, 'release/toril'), ['serve', '--config', config, '--log', 'error'], { stdio: ['ignore', 'inherit', 'inherit'] });
}

function node(port, concurrency, kind) {
  return spawn(process.execPath, ['--no-warnings', join(here, 'worker.mjs'), String(port), String(concurrency), kind], { stdio: ['ignore', 'inherit', 'inherit'] });
}

function freePort() {
  return new Promise((resolve) => {
    const server = createServer();
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

const until = async (what, ask, everyMs = 2) => {
  const end = Date.now() + 300_000;
  while (!(await ask())) {
    if (Date.now() > end) throw new Error(`never happened: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
};

/** Processor time of a process and its children, in microseconds. */
function cpu(pid) {
  const own = (of) => {
    const fields = readFileSync(`/proc/${of}/stat`, 'utf8').split(') ')[1].split(' ');
    return Number(fields[11]) + Number(fields[12]);
  };
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean);
  return [pid, ...children].reduce((sum, of) => sum + own(of), 0) / TICKS * 1e6;
}

async function scriptMicros(redis) {
  const lines = (await redis.info('commandstats')).split('\n').filter((line) => line.startsWith('cmdstat_evalsha:'));
  return lines.reduce((sum, line) => sum + Number(/usec=(\d+)/.exec(line)[1]), 0);
}

async function measure(peer, concurrency, { redis, queue, port, redisPid, dir }) {
  const count = Math.max(500, Math.round(jobs * peer.share * (concurrency === 1 ? 0.5 : 1)));
  await queue.obliterate({ force: true });
  for (let at = 0; at < count; at += 1000) {
    const some = Array.from({ length: Math.min(1000, count - at) }, (_, n) => (
      { name: 'paint', data: { wall: at + n, color: 'eggshell white', layers: 2, room: 'the one that looks out on the garden' } }));
    await queue.addBulk(some);
  }
  const completed = () => redis.zcard('bull:bench:completed');
  const child = peer.start(port, concurrency, dir);
  await until('the first jobs complete', async () => (await completed()) >= WARM);
  const [from, begin, workerFrom, redisFrom, scriptFrom] =
    [await completed(), process.hrtime.bigint(), cpu(child.pid), cpu(redisPid), await scriptMicros(redis)];
  await until('all jobs complete', async () => (await completed()) >= count);
  const micros = Number(process.hrtime.bigint() - begin) / 1e3;
  const done = count - from;
  const result = {
    jobsPerSecond: done / micros * 1e6,
    workerCpuMicros: (cpu(child.pid) - workerFrom) / done,
    redisCpuMicros: (cpu(redisPid) - redisFrom) / done,
    redisScriptMicros: ((await scriptMicros(redis)) - scriptFrom) / done,
    redisBusy: (cpu(redisPid) - redisFrom) / micros,
  };
  child.kill('SIGTERM');
  await new Promise((resolve) => child.once('exit', resolve));
  return result;
}

const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];

function medians(runs) {
  return Object.fromEntries(Object.keys(runs[0]).map((key) => [key, Number(median(runs.map((run) => run[key])).toFixed(3))]));
}

function limit({ redisBusy, workerCpuMicros, jobsPerSecond }) {
  const worker = workerCpuMicros * jobsPerSecond / 1e6;
  if (redisBusy > 0.9) return 'redis';
  if (worker + redisBusy > 0.85 * cpus().length) return 'the machine';
  return worker > 0.9 && worker < 1.1 ? 'the worker (one core)' : 'waiting for each other';
}

async function main() {
  const dir = mkdtempSync(join(tmpdir(), 'toril-bench-'));
  const port = await freePort();
  const server = spawn('redis-server', ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no',
    '--maxmemory-policy', 'noeviction', '--dir', dir], { stdio: 'ignore' });
  const connection = { host: '127.0.0.1', port };
  const redis = new Redis(connection);
  // Until the server listens.
  redis.on('error', () => {});
  await redis.ping();
  const queue = new Queue('bench', { connection });
  const context = { redis, queue, port, redisPid: server.pid, dir };
  const runs = {};
  try {
    for (let round = 1; round <= rounds; round++) {
      for (const concurrency of concurrencies) {
        for (const name of wanted) {
          if (concurrency > (peers[name].most ?? Infinity)) continue;
          const result = await measure(peers[name], concurrency, context);
          ((runs[name] ??= {})[concurrency] ??= []).push(result);
          console.error(`round ${round} of ${rounds}: ${name} c${concurrency}: ${Math.round(result.jobsPerSecond)} jobs/s`);
        }
      }
    }
  } finally {
    await queue.close();
    redis.disconnect();
    server.kill();
    rmSync(dir, { recursive: true, force: true });
  }
  report(runs);
}

function report(runs) {
  const results = {};
  for (const [name, byConcurrency] of Object.entries(runs)) {
    results[name] = Object.fromEntries(Object.entries(byConcurrency).map(([c, some]) => [c, medians(some)]));
  }
  console.log('peer                    c   jobs/s  worker us/job  redis us/job  in scripts  limited by');
  for (const [name, byConcurrency] of Object.entries(results)) {
    for (const [c, r] of Object.entries(byConcurrency)) {
      console.log([name.padEnd(20), c.padStart(4), String(Math.round(r.jobsPerSecond)).padStart(8),
        r.workerCpuMicros.toFixed(1).padStart(14), r.redisCpuMicros.toFixed(1).padStart(13),
        r.redisScriptMicros.toFixed(1).padStart(11), ` ${limit(r)}`].join(' '));
    }
  }
  const ratios = {};
  const ratio = (ours, theirs, c) => {
    const [a, b] = [results[ours]?.[c], results[theirs]?.[c]];
    if (a && b) ratios[`${ours}/${theirs} c${c}`] = Number((a.jobsPerSecond / b.jobsPerSecond).toFixed(2));
  };
  for (const c of concurrencies) {
    for (const theirs of wanted.filter((name) => name.startsWith('node'))) {
      ratio('toril', theirs, c);
      ratio('toril-reuse', theirs, c);
    }
  }
  for (const [name, value] of Object.entries(ratios)) console.log(`ratio ${name}: ${value.toFixed(2)}`);
  const redisVersion = execFileSync('redis-server', ['--version']).toString().match(/v=(\S+)/)[1];
  const machine = { cpu: cpus()[0].model, cores: cpus().length, node: process.version, redis: redisVersion };
  const date = new Date().toISOString().slice(0, 10);
  writeFileSync(join(here, 'results.json'), JSON.stringify({ date, machine, rounds, jobs, results, ratios }, null, 1) + '\n');
  writeFileSync(join(here, 'throughput.svg'), plot(results, concurrencies));
}

await main();
