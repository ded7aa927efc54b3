// The section `languages`: what a fresh and a reused instance of each language takes, and what one that waits keeps.

import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { languages as environments } from '../tests/interop/languages.mjs';
import { place, preload, proportional, resident, rounded, until } from './measure.mjs';
import { REUSE, hosts, stop, target, toril } from './peers.mjs';
import { byPeer, interleaved, work } from './runs.mjs';

const here = import.meta.dirname;
const GUESTS = 200;
const SOURCES = { typescript: 'trivial.ts', python: 'trivial.py', go: 'go/main.go', c: 'trivial.c' };

/** The component of each language whose tools are here. The one in Rust stands among the fixtures. */
function components() {
  const built = { rust: join(target, 'wasm32-wasip2/processor/fixture_version.wasm') };
  for (const [language, source] of Object.entries(SOURCES)) {
    const { env, skip } = environments[language];
    if (skip) {
      console.error(`${language} is left out: ${skip}`);
      continue;
    }
    built[language] = join(target, 'bench', `${language}.wasm`);
    execFileSync(hosts.toril, ['build', join(here, 'languages', source), '--out', built[language]], { env, stdio: ['ignore', 'ignore', 'inherit'] });
  }
  return built;
}

/** Figures at concurrency 50, and KiB for each of 200 guests that wait. */
export async function languages({ rounds, jobs }) {
  const built = components();
  const bench = await place();
  const peers = Object.fromEntries(Object.entries(built).flatMap(([language, processor]) => [
    [language, () => toril(bench, 50, { processor })],
    [`${language}-reuse`, () => toril(bench, 50, { processor, options: REUSE })],
  ]));
  const figures = await interleaved(rounds, Object.keys(peers).map((name) => `${name} c50`), async (name) => {
    await bench.queue.obliterate({ force: true });
    await preload(bench.queue, jobs);
    return work(bench, () => [peers[name.split(' ')[0]]()], jobs);
  });
  const perGuestKib = {};
  for (const [language, processor] of Object.entries(built)) perGuestKib[language] = await waiting(bench, processor);
  await bench.close();
  return { figures: byPeer(figures), perGuestKib };
}

/** What each guest that waits adds to the host. Guests share what their snapshot holds and they have not written. */
async function waiting(bench, processor) {
  await bench.queue.obliterate({ force: true });
  const child = toril(bench, GUESTS, { processor });
  const running = (count) => until(`${count} guests run`, async () => (await bench.redis.llen('bull:bench:active')) === count);
  await bench.queue.add('sleep', 600_000);
  await running(1);
  const one = proportional(child.pid);
  await bench.queue.addBulk(Array.from({ length: GUESTS - 1 }, () => ({ name: 'sleep', data: 600_000 })));
  await running(GUESTS);
  await settled(child.pid);
  const each = (proportional(child.pid) - one) / (GUESTS - 1);
  child.kill('SIGKILL');
  await stop(child);
  return rounded(each);
}

/** A job is active before its guest runs: until the host has not grown for a second. */
async function settled(pid) {
  let [last, since] = [0, Date.now()];
  await until('the host has started all', () => {
    const now = resident(pid);
    if (Math.abs(now - last) > 256) [last, since] = [now, Date.now()];
    return Date.now() - since > 1000;
  });
}
