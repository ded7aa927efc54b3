// Real servers for the tests: a private Redis, `toril serve`, and what is left in Redis afterwards.
import { execFile, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { FlowProducer, Queue, QueueEvents } from 'bullmq';
import { Redis } from 'ioredis';

/** Where cargo builds. */
export const target = resolve(process.env.CARGO_TARGET_DIR ?? join(import.meta.dirname, '../../target'));
/** TORIL runs another build. */
export const toril = process.env.TORIL ?? join(target, 'release/toril');
/** Files of the tests are bundled with the npm package as it stands here. */
const scriptSdk = { TORIL_JS_SDK: resolve(import.meta.dirname, '../../sdk/js') };

/** The component of a guest crate. */
export const processor = (crate) =>
  join(target, 'wasm32-wasip2/processor', `${crate.replaceAll('-', '_')}.wasm`);

/** Longer than anything takes on a slow machine that others use, too: what never happens fails all the same. */
export const WAIT_MS = 60_000;

/** Calls `check` until it returns something true; fails with `what` after a minute, or as long as is given. */
export async function eventually(what, check, patienceMs = WAIT_MS) {
  const end = Date.now() + patienceMs;
  for (;;) {
    const result = await check();
    if (result) return result;
    if (Date.now() > end) throw new Error(`never happened: ${what}`);
    await new Promise((tick) => setTimeout(tick, 5));
  }
}

/**
 * A port that nobody listens on. It is outside the range from which systems choose a port, also for a client's
 * connections: no other program gets it before its use.
 */
export async function freePort() {
  for (;;) {
    const port = randomInt(10_000, 32_000);
    const server = createServer().listen(port, '127.0.0.1');
    const free = await once(server, 'listening').then(() => true, () => false);
    if (!free) continue;
    server.close();
    await once(server, 'close');
    return port;
  }
}

/** Runs a `toril` command; returns what it printed. Fails where it fails. */
export async function run(...args) {
  const { stdout } = await promisify(execFile)(toril, ['--log', 'warn', ...args], { env: { ...scriptSdk, ...process.env } });
  return stdout.trim();
}

/** A Redis of its own, empty and in memory. */
export async function startRedis() {
  const dir = await mkdtemp(join(tmpdir(), 'toril-interop-'));
  const port = await freePort();
  const args = ['--port', port, '--bind', '127.0.0.1', '--dir', dir, '--save', '', '--maxmemory-policy', 'noeviction'];
  const child = spawn('redis-server', args.map(String), { stdio: 'ignore' });
  const connection = { host: '127.0.0.1', port, maxRetriesPerRequest: null };
  const client = new Redis({ ...connection, retryStrategy: () => 20 });
  client.on('error', () => {});
  await client.ping();
  return {
    client,
    connection,
    url: `redis://127.0.0.1:${port}`,
    async stop() {
      client.disconnect();
      child.kill();
      await once(child, 'exit');
      await rm(dir, { recursive: true });
    },
  };
}

/**
 * `toril serve`, ready. `queues` maps a name to { processor, ...keys of its section in toril.toml }, `settings`
 * are other keys of the file, `env` what else the host sees of its environment. Large components compile for a while where
 * they are not in the cache: they need more patience.
 */
export async function startToril(redis, queues, settings = {}, env = {}, patienceMs = undefined) {
  const dir = await mkdtemp(join(tmpdir(), 'toril-interop-'));
  const config = join(dir, 'toril.toml');
  await writeFile(config, toToml({ redis: redis.url, ...settings, queues }));
  // No guest sees a backtrace of the host, also where the host makes them.
  const child = spawn(toril, ['serve', '--config', config], {
    stdio: ['ignore', 'ignore', 'pipe'], env: { ...scriptSdk, ...process.env, RUST_BACKTRACE: '1', ...env },
  });
  let log = '';
  child.stderr.on('data', (chunk) => (log += chunk));
  // Not before all of its log is read.
  const closed = once(child, 'close');
  await eventually('toril serves', () => {
    if (child.exitCode !== null) throw new Error(`toril ended:\n${log}`);
    return log.includes('serving');
  }, patienceMs);
  return {
    child,
    log: () => log,
    async stop() {
      child.kill('SIGTERM');
      const [code] = await closed;
      await rm(dir, { recursive: true });
      if (code !== 0) throw new Error(`toril ended with ${code}:\n${log}`);
    },
  };
}

/**
 * A job that calls another one of its queue has to make way for it, and starts once more. Side by side, the called job
 * may end before its caller waits for it, and the caller goes on in the same start.
 */
export const oneAtATime = { concurrency: 1 };

/** Serves queues with `section` while `body` runs. What the host logged stands in the error of a test that fails. */
export async function served(redis, section, names, body, patienceMs = undefined) {
  const { connection } = redis;
  const host = await startToril(redis, Object.fromEntries(names.map((name) => [name, section])), {}, {}, patienceMs);
  const queues = Object.fromEntries(names.map((name) => [name, new Queue(name, { connection })]));
  const queue = queues[names[0]];
  // From the first event on: a listener that starts now may miss what happens before it listens.
  const events = new QueueEvents(names[0], { connection, lastEventId: '0' });
  const flow = new FlowProducer({ connection });
  const finished = (job, ms = WAIT_MS) => job.waitUntilFinished(events, ms);
  const run = async (name, data = {}, opts = {}) => finished(await queue.add(name, data, opts));
  try {
    await events.waitUntilReady();
    return await body({ queues, queue, flow, host, finished, run });
  } catch (error) {
    error.message += `\nlog of the host:\n${host.log()}`;
    throw error;
  } finally {
    await Promise.all([host.stop(), flow.close(), events.close(), ...Object.values(queues).map((queue) => queue.close())]);
  }
}

/** JSON is TOML enough for values; tables become dotted keys. */
function toToml(table, path = []) {
  const plain = (value) => typeof value !== 'object' || Array.isArray(value);
  return Object.entries(table)
    .map(([key, value]) => {
      const name = [...path, JSON.stringify(key)];
      return plain(value) ? `${name.join('.')} = ${JSON.stringify(value)}\n` : toToml(value, name);
    })
    .join('');
}

/** Everything that a queue has in Redis, with times and traces made comparable. */
export async function snapshot(client, base) {
  const keys = await client.keys(`${base}:*`);
  const entries = await Promise.all(
    keys
      // Wake-up calls and throttles: when they are there depends on the moment. Answers to calls of guests, kept for a
      // while in case they are asked for again, are ours alone.
      .filter((key) => !/:(marker|stalled-check)$|:toril-request:/.test(key))
      .map(async (key) => [key.slice(base.length + 1), await read(client, key)]),
  );
  const there = entries.filter(([, value]) => value !== undefined);
  return nameIterations(Object.fromEntries(there.sort(([a], [b]) => (a < b ? -1 : 1))));
}

/** Jobs of a scheduler carry their time in their id: here they are numbered instead, those of each by themselves. */
function nameIterations(left) {
  const times = {};
  for (const key of Object.keys(left)) {
    const [, scheduler, time] = key.match(/^repeat:([^:]+):(\d+)$/) ?? [];
    if (scheduler) (times[scheduler] ??= []).push(time);
  }
  const number = (scheduler, time) => [...new Set(times[scheduler])].sort().indexOf(time) + 1;
  const named = (text) => text.replaceAll(/repeat:([^:"]+):(\d+)/g, (whole, scheduler, time) => {
    const n = number(scheduler, time);
    return n ? `repeat:${scheduler}:#${n}` : whole;
  });
  return withoutTimes(JSON.parse(named(JSON.stringify(left))));
}

const readers = {
  string: (client, key) => client.get(key),
  list: (client, key) => client.lrange(key, 0, -1),
  set: async (client, key) => (await client.smembers(key)).sort(),
  async hash(client, key) {
    const fields = await client.hgetall(key);
    // Engines write different traces; how many are kept is the protocol's.
    if (fields.stacktrace) fields.stacktrace = `${JSON.parse(fields.stacktrace).length} traces`;
    for (const name of ['opts', 'parent']) if (fields[name]) fields[name] = JSON.parse(fields[name]);
    // How long a scheduler's job waits, and where its slots lie, depends on the moment.
    if (fields.rjk) delete fields.opts.delay;
    if (fields.ic) delete fields.offset;
    return fields;
  },
  async zset(client, key) {
    const flat = await client.zrange(key, 0, -1, 'WITHSCORES');
    const pairs = [];
    for (let i = 0; i < flat.length; i += 2) {
      const delayed = key.endsWith(':delayed');
      pairs.push([flat[i], delayed ? Math.floor(flat[i + 1] / 4096) : Number(flat[i + 1])]);
    }
    // Within one millisecond Redis orders by name; the stream of events tells the true order.
    const ordered = /:(delayed|prioritized)$/.test(key);
    return ordered ? pairs : pairs.sort(([a], [b]) => (a < b ? -1 : 1));
  },
  async stream(client, key) {
    const entries = await client.xrange(key, '-', '+');
    return entries.map(([, flat]) => {
      const event = {};
      for (let i = 0; i < flat.length; i += 2) event[flat[i]] = flat[i + 1];
      return event;
    });
  },
};

/** Undefined where the key has run out meanwhile. */
async function read(client, key) {
  const type = await client.type(key);
  return readers[type]?.(client, key);
}

function withoutTimes(value) {
  if (typeof value === 'string') return value.replace(/\b1[6-9]\d{11}\b/g, 'TIME');
  if (typeof value === 'number') return value > 1.6e12 && value < 2e12 ? 'TIME' : value;
  if (Array.isArray(value)) return value.map(withoutTimes);
  if (value && typeof value === 'object') {
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, withoutTimes(inner)]));
  }
  return value;
}
