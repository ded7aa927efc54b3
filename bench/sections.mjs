// What is measured. Each section takes the settings, runs its peers interleaved and returns its figures.

import { execFileSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { FlowProducer, QueueEvents, completed, cpu, pause, percentile, place, preload, resident, rounded, until } from './measure.mjs';
import { hosts, peers, scripts, stop, toril } from './peers.mjs';
import { WARM, byPeer, interleaved, tell, work } from './runs.mjs';

/** The same preloaded jobs through each peer, by concurrency. `runs` gets each run, by peer and concurrency. */
export const throughput = ({ rounds, jobs, concurrencies, wanted, runs }) =>
  throughputOf(peers, { rounds, jobs, concurrencies, wanted, runs });

/** Processors in TypeScript and JavaScript, beside BullMQ's own workers for Node. */
export async function typescript({ rounds, jobs, concurrencies }) {
  const node = Object.fromEntries(['node-inline', 'node-sandbox-process'].map((name) => [name, peers[name]]));
  // The trivial jobs are as many as elsewhere, since V8 needs thousands of them to get fast. The others take longer each.
  const groups = [
    [['script', 'script-reuse', ...Object.keys(node)], jobs],
    [['script-bundle', 'script-bundle-reuse'], jobs / 4],
    [['script-primes', 'script-primes-reuse'], jobs / 40],
  ];
  const settings = { rounds, concurrencies: concurrencies.filter((c) => c > 1) };
  const results = {};
  for (const [wanted, jobs] of groups) Object.assign(results, await throughputOf({ ...scripts, ...node }, { ...settings, jobs, wanted }));
  return results;
}

async function throughputOf(peers, { rounds, jobs, concurrencies, wanted, runs }) {
  const here = await place();
  const cases = concurrencies.flatMap((c) => wanted.map((name) => `${name} c${c}`));
  const figures = await interleaved(rounds, cases, async (name) => {
    const [peer, c] = [name.split(' ')[0], Number(name.split(' c')[1])];
    const count = Math.max(2 * WARM, Math.ceil(c === 1 ? jobs / 2 : jobs));
    await here.queue.obliterate({ force: true });
    await preload(here.queue, count);
    return work(here, () => [peers[peer](here, c)], count);
  }, runs);
  await here.close();
  return byPeer(figures);
}

/** From `add` to the event `completed`, one job at a time on an idle queue, as a producer sees it. */
export async function latency({ rounds, wanted }) {
  const [here, samples] = [await place(), 300];
  const events = new QueueEvents('bench', { connection: here.connection });
  await events.waitUntilReady();
  const waiting = new Map();
  events.on('completed', ({ jobId }) => waiting.get(jobId)?.());
  const one = async (id) => {
    const begin = performance.now();
    const done = new Promise((resolve) => waiting.set(id, resolve));
    await here.queue.add('paint', { wall: 1 }, { jobId: id });
    await done;
    waiting.delete(id);
    return performance.now() - begin;
  };
  let number = 0;
  const figures = await interleaved(rounds, wanted.filter((name) => !name.includes('sandbox')), async (name) => {
    const child = peers[name](here, 50);
    for (let n = 0; n < 50; n++) await one(`job-${number++}`);
    const times = [];
    for (let n = 0; n < samples; n++) times.push(await one(`job-${number++}`));
    await stop(child);
    return { p50Ms: percentile(times, 0.5), p99Ms: percentile(times, 0.99) };
  });
  await events.close();
  await here.close();
  return figures;
}

/** One execution inside the host, without a queue (criterion; microseconds). */
export function execution() {
  const root = join(dirname(fileURLToPath(import.meta.url)), '..');
  const output = execFileSync(process.env.CARGO ?? 'cargo', ['bench', '-p', 'toril-sandbox', '--bench', 'attempt'],
    { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
  const lines = output.matchAll(/^execution (\w+): p50 ([\d.]+) us, p99 ([\d.]+) us$/gm);
  const figures = Object.fromEntries([...lines].map(([, name, p50, p99]) => [name, { p50Us: Number(p50), p99Us: Number(p99) }]));
  for (const [, name, threads, rate] of output.matchAll(/^executions (\w+), threads (\d+): (\d+) a second$/gm)) {
    figures[name][`perSecondOn${threads}`] = Number(rate);
  }
  return figures;
}

/** An idle host: resident memory and processor time; and what each of 1,000 waiting guests adds. */
export async function memory({ idleSeconds }) {
  if (!hosts.before) return memoryOf('toril', idleSeconds);
  return { toril: await memoryOf('toril', idleSeconds), before: await memoryOf('before', idleSeconds) };
}

async function memoryOf(host, idleSeconds) {
  const [here, guests] = [await place(), 1000];
  const waiting = async () => {
    // This fixture calls nothing that an older host lacks.
    const child = toril(here, guests, { host, fixture: 'fixture_version' });
    await until('the host waits', async () => (await here.redis.client('LIST')).includes('cmd=bzpopmin'));
    // A queue that has had no jobs for ten seconds rests.
    await pause(12_000);
    return child;
  };
  // The first one compiles; the compiler's memory is not what is asked for.
  const first = await waiting();
  const compiledMib = resident(first.pid) / 1024;
  await stop(first);
  const child = await waiting();
  const idleMib = resident(child.pid) / 1024;
  const before = cpu(child.pid);
  await pause(idleSeconds * 1000);
  const idleCpuMsPerSecond = (cpu(child.pid) - before) / 1000 / idleSeconds;
  await here.queue.addBulk(Array.from({ length: guests }, () => ({ name: 'sleep', data: 600_000 })));
  await until('all guests run', async () => (await here.redis.llen('bull:bench:active')) === guests);
  await pause(3000);
  const perGuestKib = (resident(child.pid) - idleMib * 1024) / guests;
  child.kill('SIGKILL');
  await here.close();
  return { idleMib: rounded(idleMib), afterCompilingMib: rounded(compiledMib), idleCpuMsPerSecond: rounded(idleCpuMsPerSecond), perGuestKib: rounded(perGuestKib) };
}

/** From starting the process to the first completed job. Toril's compiled code is in its cache. */
export async function startup({ rounds }) {
  const here = await place();
  const first = async (name) => {
    await here.queue.obliterate({ force: true });
    await preload(here.queue, 1);
    const begin = performance.now();
    const child = peers[name](here, 50);
    await until('the first job completes', async () => (await completed(here.redis)) >= 1);
    const ms = performance.now() - begin;
    await stop(child);
    return { ms };
  };
  for (const host of Object.keys(hosts)) await first(host);
  const others = hosts.before ? [] : ['node-inline', 'rust-official'];
  const figures = await interleaved(rounds, [...Object.keys(hosts), ...others], first);
  await here.close();
  return figures;
}

/** Throughput while at least so many jobs wait. */
export async function growth({ rounds, waiting }) {
  const places = {};
  for (const count of waiting) {
    places[count] = await place();
    tell(`adding ${count} jobs`);
    await preload(places[count].queue, count);
  }
  const share = 20_000;
  const cases = waiting.flatMap((count) => ['toril', 'node-inline'].map((peer) => `${peer} ${count}`));
  const figures = await interleaved(rounds, cases, async (name) => {
    const [peer, count] = name.split(' ');
    const here = places[count];
    await preload(here.queue, Number(count) + share - (await here.redis.llen('bull:bench:wait')));
    return work(here, () => [peers[peer](here, 50)], share);
  });
  for (const here of Object.values(places)) await here.close();
  return figures;
}

/** Families of ten children through each peer; and one parent with ever more children. */
export async function flows({ rounds, children }) {
  const here = await place();
  const producer = new FlowProducer({ connection: here.connection });
  const flow = (count) => ({ name: 'house', queueName: 'bench', data: {},
    children: Array.from({ length: count }, (_, wall) => ({ name: 'paint', queueName: 'bench', data: { wall } })) });
  const run = async (peer, flows, jobs) => {
    await here.queue.obliterate({ force: true });
    for (let at = 0; at < flows.length; at += 100) await producer.addBulk(flows.slice(at, at + 100));
    return work(here, () => [peers[peer](here, 50)], jobs);
  };
  const families = 1000;
  const all = ['toril', 'toril-reuse', 'node-inline'];
  const familiesByPeer = await interleaved(rounds, all, (peer) => run(peer, Array.from({ length: families }, () => flow(10)), families * 11));
  const cases = children.flatMap((count) => ['toril', 'node-inline'].map((peer) => `${peer} ${count}`));
  const byChildren = await interleaved(rounds, cases, (name) => {
    const [peer, count] = name.split(' ');
    return run(peer, [flow(Number(count))], Number(count) + 1);
  });
  await producer.close();
  await here.close();
  return { families: familiesByPeer, oneParent: byChildren };
}

/** Several hosts on one queue. */
export async function scaling({ rounds, jobs }) {
  const here = await place();
  const cases = ['toril', 'node-inline'].flatMap((peer) => [1, 2, 4].map((hosts) => `${peer} x${hosts}`));
  const figures = await interleaved(rounds, cases, async (name) => {
    const [peer, hosts] = name.split(' x');
    await here.queue.obliterate({ force: true });
    await preload(here.queue, jobs);
    return work(here, () => Array.from({ length: Number(hosts) }, () => peers[peer](here, 50)), jobs);
  });
  await here.close();
  return figures;
}
