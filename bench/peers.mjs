// The workers that are compared. Each is a process that works the queue `bench` until it is told to end.

import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { launch } from './measure.mjs';

const here = dirname(fileURLToPath(import.meta.url));
export const target = process.env.CARGO_TARGET_DIR ?? join(here, '../target');

const start = (program, args) => launch(program, args, { stdio: ['ignore', 'inherit', 'inherit'] });

/** The hosts that can be measured: this one, and with `BEFORE=/path/to/toril` an older build beside it. */
export const hosts = { toril: join(target, 'dist/toril'), ...(process.env.BEFORE && { before: process.env.BEFORE }) };

let configs = 0;

const component = (fixture) => join(target, `wasm32-wasip2/processor/${fixture}.wasm`);

/** Starts `toril serve`; `options` are further lines of the queue's section. */
export function toril({ port, dir }, concurrency, { host = 'toril', options = '', fixture = 'fixture_noop', processor = component(fixture) } = {}) {
  const config = join(dir, `toril-${configs++}.toml`);
  writeFileSync(config, `redis = "redis://127.0.0.1:${port}"\n[runtime]\ncache_dir = "${dir}/cache-${host}"\n` +
    `[queues.bench]\nprocessor = "${processor}"\nconcurrency = ${concurrency}\n${options}\n`);
  return start(hosts[host], ['serve', '--config', config, '--log', 'error']);
}

const node = (kind, ...settings) => ({ port }, concurrency) =>
  start(process.execPath, ['--no-warnings', join(here, 'worker.mjs'), String(port), String(concurrency), kind, ...settings]);

export const REUSE = 'reuse = { jobs = 1000000 }';
const ofHosts = Object.keys(hosts).flatMap((host) => [
  [host, (place, c) => toril(place, c, { host })],
  [`${host}-reuse`, (place, c) => toril(place, c, { host, options: REUSE })],
]);

const builds = {};

/** The component of a script, built once. */
function script(file) {
  builds[file] ??= (() => {
    const out = join(target, 'bench', `${basename(file).replace(/\.\w+$/, '')}.wasm`);
    execFileSync(hosts.toril, ['build', join(here, file), '--out', out], { env: { ...process.env, TORIL_JS_SDK: join(here, '../sdk/js') } });
    return out;
  })();
  return builds[file];
}

const ofScript = (name, file) => [
  [name, (place, c) => toril(place, c, { processor: script(file) })],
  [`${name}-reuse`, (place, c) => toril(place, c, { processor: script(file), options: REUSE })],
];

/** Processors in TypeScript and JavaScript; the first is the file that BullMQ's sandboxed worker runs, too. */
export const scripts = Object.fromEntries([
  ...ofScript('script', 'processor.cjs'),
  ...ofScript('script-bundle', 'typescript/bundle.ts'),
  ...ofScript('script-primes', 'typescript/primes.ts'),
]);

/** How each peer starts. */
export const peers = {
  ...Object.fromEntries(ofHosts),
  'toril-record': (place, c) => toril(place, c, { options: 'record = "failed"' }),
  'node-inline': node('inline'),
  'rust-official': ({ port }, c) => start(join(target, 'release/bench-official'), [String(port), String(c)]),
  'node-sandbox-process': node('process'),
  'node-sandbox-thread': node('thread'),
};

/** How each peer starts that does real work: `grants` are lines for the config of hosts, `settings` are for Node. */
export const workers = (grants, settings) => ({
  ...Object.fromEntries(Object.keys(hosts).flatMap((host) => [
    [host, (place, c) => toril(place, c, { host, fixture: 'fixture_work', options: grants })],
    [`${host}-reuse`, (place, c) => toril(place, c, { host, fixture: 'fixture_work', options: `${REUSE}\n${grants}` })],
  ])),
  'node-inline': node('work', JSON.stringify(settings)),
});

/** The server that jobs ask; see `server/src/main.rs`. */
export async function startServer(dir) {
  const child = launch(join(target, 'release/bench-server'), [dir], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [line] = await once(child.stdout, 'data');
  const [http, https] = String(line).trim().split(' ');
  const stats = async () => (await fetch(`http://127.0.0.1:${http}/stats`)).json();
  return { child, http, https, authority: join(dir, 'authority.pem'), stats };
}

/** Ends a worker and waits until it is gone. */
export async function stop(child) {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGTERM');
  await gone;
}
