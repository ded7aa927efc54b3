// The section `grants`: memory and descriptors of a host, and keys in Redis, over thousands of attempts that use a grant,
// fail with it or leave open what it gave them.

import { createServer } from 'node:net';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { place, resident, rounded, until } from './measure.mjs';
import { startServer, stop, toril } from './peers.mjs';
import { startPostgres } from './postgres.mjs';
import { tell } from './runs.mjs';

/** Until memory has been taken that is used again. */
const FIRST = 1_000;
const ALL = 10_000;
const BULK = 500;

/** Each grant: what its jobs are granted, which processor runs them, and what they do in turns. */
const GRANTS = {
  http: async ({ dir }) => {
    const server = await startServer(dir);
    const url = `http://127.0.0.1:${server.http}`;
    return {
      fixture: 'fixture_requests',
      options: `[queues.bench.grants.http]\nhosts = ["127.0.0.1:${server.http}"]\nrequest_bytes_max = 20000`,
      jobs: [['get', { url }], ['get', { url: 'http://127.0.0.1:1' }], ['large', { url, bytes: 30_000 }], ['timeout', { url, ms: 1 }]],
      end: () => server.child.kill(),
    };
  },
  kv: async () => ({
    fixture: 'fixture_kv',
    options: '[queues.bench.grants.kv]\nkeys_max = 20\nvalue_bytes_max = 100000',
    jobs: [
      ['calls', [['set', 'default', 'a', 'x'], ['get', 'default', 'a']]],
      ['calls', [['increment', 'default', 'n'], ['keys', 'default']]],
      ['must', [['fill', 'default', 'big', 100_001]]],
      ['must', [['hold', 'default', 'a', 3], ['trap', 'default', 'a']]],
    ],
  }),
  postgres: async () => {
    const database = await startPostgres();
    return {
      fixture: 'fixture_postgres',
      options: `[queues.bench.grants.postgres.main]\nurl = { file = "${database.urlFile}" }\nconnections_max = 4`,
      jobs: ["insert into orders (customer, total) values ('Ada', 1)", 'select 1', 'select nothing from nowhere', 'copy orders from stdin']
        .map((statement) => ['query', statement])
        .concat([['left-open', "insert into orders (customer, total) values ('Eve', 1)"]]),
      end: () => database.stop(),
    };
  },
  tcp: async () => {
    const server = createServer((peer) => peer.on('error', () => {}).pipe(peer)).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = `127.0.0.1:${server.address().port}`;
    return {
      fixture: 'fixture_socket',
      options: `[queues.bench.grants.tcp]\nhosts = ["${address}"]\nconnections_max = 3`,
      jobs: [['ask', { address, line: 'painted' }], ['leave-open', address], ['hoard', { address, number: 10 }], ['panic', address]],
      end: () => server.close(),
    };
  },
};

/** For each grant: memory after a thousand attempts and after all of them, and by how much it and the descriptors grew. */
export async function grants({ grants = Object.keys(GRANTS) }) {
  const figures = {};
  for (const name of grants) {
    figures[name] = await grown(name);
    tell(`${name}: ${Object.entries(figures[name]).map(([key, value]) => `${key} ${value}`).join(', ')}`);
  }
  return figures;
}

async function grown(name) {
  const here = await place();
  const { fixture, options, jobs, end } = await GRANTS[name](here);
  // No job stays behind: Redis is not what is measured.
  const child = toril(here, 50, { fixture, options: `remove_on_complete = 0\nremove_on_fail = 0\n${options}` });
  await run(here, jobs, FIRST);
  const [first, opened, keysFirst] = [resident(child.pid), descriptors(child), await keys(here)];
  await run(here, jobs, ALL - FIRST);
  const [last, open, keysLast] = [resident(child.pid), descriptors(child), await keys(here)];
  await stop(child);
  await end?.();
  await here.close();
  return {
    mibAfterThousand: rounded(first / 1024),
    mibAfterAll: rounded(last / 1024),
    memoryGrownBy: rounded(last / first),
    moreDescriptors: open - opened,
    moreKeys: keysLast - keysFirst,
  };
}

const descriptors = ({ pid }) => readdirSync(`/proc/${pid}/fd`).length;

/** Keys in Redis, without notes of requests, which go away by themselves. */
const keys = async ({ redis }) => (await redis.keys('*')).filter((key) => !key.includes(':toril-request:')).length;

/** Runs so many jobs, of each kind in turn, and waits until all have ended. */
async function run({ queue }, jobs, count) {
  for (let at = 0; at < count; at += BULK) {
    await queue.addBulk(Array.from({ length: Math.min(BULK, count - at) }, (_, n) => {
      const [name, data] = jobs[(at + n) % jobs.length];
      return { name, data };
    }));
  }
  await until('all jobs end', async () => Object.values(await queue.getJobCounts()).every((left) => left === 0), 100);
}
