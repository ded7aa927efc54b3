// The section `work`: what processors usually do, beside BullMQ's own worker with the same work (`work/processor.mjs`).

import { cpu, place } from './measure.mjs';
import { startServer, workers } from './peers.mjs';
import { startPostgres } from './postgres.mjs';
import { WARM, byPeer, interleaved, work as run } from './runs.mjs';

/** The last prime takes 0.35 ms of processor time in Node, on an AMD EPYC. */
const PRIMES = 1400;
const JSON_BYTES = 50_000;

/** An order of 50 KB. */
export function order() {
  const items = [];
  for (let n = 0, bytes = 20; bytes < JSON_BYTES; n++) {
    const item = { sku: `SKU-${100_000 + n * 7}`, name: 'Wall paint "eggshell", matt', price: (n % 97) + 0.25, quantity: n % 5 + 1,
      size: { liters: 2.5, coats: n % 3 }, tags: ['indoor', 'öko'], inStock: n % 2 === 0, note: null };
    items.push(item);
    bytes += Buffer.byteLength(JSON.stringify(item)) + 1;
  }
  return { id: 'order-1', items };
}

/** Each kind: its share of the settings' jobs, the data of its jobs, and what its workers are granted and told. */
const KINDS = {
  http: { share: 1, data: ({ server }) => ({ url: `http://127.0.0.1:${server.http}/rates/eur` }), grants: ({ server }) => http(server.http) },
  https: {
    share: 1,
    data: ({ server }) => ({ url: `https://127.0.0.1:${server.https}/rates/eur` }),
    grants: ({ server }) => `${http(server.https)}\nca_file = "${server.authority}"`,
  },
  postgres: {
    share: 0.5,
    data: () => ({ customer: 'Ada', total: 129.5 }),
    // As many connections as the pool of Node has.
    grants: ({ database }) => `[queues.bench.grants.postgres.shop]\nurl = { file = "${database.urlFile}" }\nconnections_max = 10`,
  },
  json: { share: 0.1, data: order },
  compute: { share: 0.2, data: () => ({ count: PRIMES }) },
  chatty: { share: 0.25, data: () => ({ walls: 3 }) },
};

/** The processor does every kind of work, so that it imports more than one kind needs. */
const UNUSED = '[queues.bench.grants]\nstub = ["wasi:http", "toril:postgres"]';

const http = (...ports) => `[queues.bench.grants.http]\nhosts = ${JSON.stringify(ports.map((port) => `127.0.0.1:${port}`))}`;

export const kinds = Object.keys(KINDS);

/** Adds `count` jobs of a kind. */
async function load(queue, name, count, data) {
  // Large jobs in small bulks.
  const step = JSON.stringify(data).length > 10_000 ? 50 : 1000;
  for (let at = 0; at < count; at += step) {
    await queue.addBulk(Array.from({ length: Math.min(step, count - at) }, () => ({ name, data })));
  }
}

/** Figures by kind, peer and concurrency. */
export async function work({ rounds, jobs, concurrencies, wanted, kinds }) {
  const here = await place();
  const server = kinds.some((kind) => kind.startsWith('http')) ? await startServer(here.dir) : undefined;
  const database = kinds.includes('postgres') ? await startPostgres() : undefined;
  const results = {};
  for (const name of kinds) {
    const { share, data, grants } = KINDS[name];
    const granted = `${UNUSED}\n${grants?.({ server, database }) ?? ''}`;
    const peers = workers(granted, { authority: server?.authority, postgres: database?.url });
    const names = Object.keys(peers).filter((peer) => wanted.includes(peer));
    // Fewer jobs at once than that leave servers idle.
    const cases = concurrencies.filter((c) => c >= 50).flatMap((c) => names.map((peer) => `${peer} c${c}`));
    const count = Math.max(2 * WARM, Math.ceil(jobs * share));
    const figures = await interleaved(rounds, cases, async (of) => {
      const [peer, c] = of.split(' c');
      await here.queue.obliterate({ force: true });
      await load(here.queue, name, count, data({ server }));
      const measure = () => run(here, () => [peers[peer](here, Number(c))], count);
      return withAll(await served(name.startsWith('http') ? server : name === 'postgres' && database, count, measure));
    });
    results[name] = byPeer(figures);
  }
  await database?.stop();
  server?.child.kill();
  await here.close();
  return results;
}

/** Adds what the server of the jobs did, where they ask one. */
async function served(server, count, measure) {
  if (!server) return measure();
  const [before, cpuBefore] = [await server.stats?.(), cpu(server.child.pid)];
  const figures = await measure();
  const after = await server.stats?.();
  const serverCpuMicros = (cpu(server.child.pid) - cpuBefore) / count;
  return {
    ...figures,
    serverCpuMicros,
    serverBusy: serverCpuMicros * figures.jobsPerSecond / 1e6,
    ...(after && { connections: after.connections - before.connections, handshakes: after.handshakes - before.handshakes }),
  };
}

/** Adds the processor time that a job takes of the machine: unlike jobs per second, others that use the machine hardly change it. */
const withAll = (figures) => (
  { ...figures, allCpuMicros: figures.workerCpuMicros + figures.redisCpuMicros + (figures.serverCpuMicros ?? 0) });
