// `make bench`: Toril beside BullMQ's own workers on this machine, on a private Redis without persistence.
// Prints medians and ratios, and writes results.json and throughput.svg beside itself.
//
// BEFORE=/path/to/toril compares with an older build instead: it runs beside this one, in the same rounds; the ratios are
// printed and nothing is written. It must be built with the profile `dist`, too; where it has none, with the variables
// CARGO_PROFILE_RELEASE_LTO=fat CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1. In either case what falls short of `expected.mjs` fails the run.
//
// Environment: SECTIONS [throughput,typescript,languages,latency,execution,memory,startup,growth,flows,scaling,work,grants],
// ROUNDS [5], CONCURRENCIES [1,10,50,200], PEERS [all], JOBS [20000], WAITING [10000,100000,1000000],
// CHILDREN [1000,10000,100000], KINDS [http,https,postgres,json,compute,chatty] of work, GRANTS [http,kv,postgres,tcp],
// IDLE_SECONDS [30].
// SECTIONS=work ROUNDS=1 JOBS=2000 CONCURRENCIES=50 takes some two minutes. With BEFORE, SECTIONS are [throughput,memory,startup]; throughput
// alone takes some six minutes with ROUNDS=3 JOBS=10000. Sections that are left out keep their figures in results.json.

import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ratiosToBefore, shownRatios } from './before.mjs';
import { misses } from './expected.mjs';
import { grants } from './grants.mjs';
import { languages } from './languages.mjs';
import { cores } from './measure.mjs';
import { hosts, peers } from './peers.mjs';
import { plot } from './plot.mjs';
import * as others from './sections.mjs';
import { kinds, work } from './work.mjs';

const sections = { ...others, languages, work, grants };
const here = dirname(fileURLToPath(import.meta.url));
const list = (name, otherwise) => process.env[name]?.split(',') ?? otherwise;
const beside = hosts.before !== undefined;
const order = beside ? ['throughput', 'memory', 'startup'] : ['throughput', 'typescript', 'languages', 'latency', 'execution', 'memory', 'startup', 'growth', 'flows', 'scaling', 'work', 'grants'];
const settings = {
  rounds: Number(process.env.ROUNDS ?? 5),
  jobs: Number(process.env.JOBS ?? 20000),
  concurrencies: list('CONCURRENCIES', [1, 10, 50, 200]).map(Number),
  wanted: list('PEERS', beside ? ['toril', 'before', 'toril-reuse', 'before-reuse'] : Object.keys(peers)),
  idleSeconds: Number(process.env.IDLE_SECONDS ?? 30),
  runs: {},
  waiting: list('WAITING', [10_000, 100_000, 1_000_000]).map(Number),
  children: list('CHILDREN', [1_000, 10_000, 100_000]).map(Number),
  kinds: list('KINDS', kinds),
  grants: list('GRANTS'),
};

function limit({ redisBusy, workerCpuMicros, jobsPerSecond }) {
  const worker = workerCpuMicros * jobsPerSecond / 1e6;
  if (redisBusy > 0.9) return 'redis';
  if (worker + redisBusy > 0.85 * cores) return 'the machine';
  return worker > 0.9 && worker < 1.1 ? 'the worker (one core)' : 'waiting for each other';
}

function table(title, figures) {
  console.log(`\n${title.padEnd(26)}  jobs/s  worker us/job  redis us/job  in scripts  commands  limited by`);
  for (const [name, r] of Object.entries(figures)) {
    console.log([name.padEnd(26), String(Math.round(r.jobsPerSecond)).padStart(7), r.workerCpuMicros.toFixed(1).padStart(14),
      r.redisCpuMicros.toFixed(1).padStart(13), r.redisScriptMicros.toFixed(1).padStart(11), r.redisCommands.toFixed(1).padStart(9),
      ` ${limit(r)}`].join(' '));
  }
}

function lines(title, figures) {
  console.log(`\n${title}`);
  for (const [name, figure] of Object.entries(figures)) {
    const shown = typeof figure === 'object' ? Object.entries(figure).map(([key, value]) => `${key} ${value}`).join('  ') : figure;
    console.log(`  ${name.padEnd(24)} ${shown}`);
  }
}

/** How many times ours is better than theirs, for each pair and section that was measured. */
function ratios({ throughput = {}, latency = {}, flows, work = {} }) {
  const found = {};
  const note = (name, ours, theirs) => {
    if (ours && theirs) found[name] = Number((ours / theirs).toFixed(2));
  };
  const others = Object.keys(peers).filter((name) => !name.startsWith('toril'));
  for (const ours of ['toril', 'toril-reuse']) {
    for (const theirs of others) {
      for (const c of Object.keys(throughput[ours] ?? {})) {
        note(`${ours}/${theirs} c${c}`, throughput[ours][c].jobsPerSecond, throughput[theirs]?.[c]?.jobsPerSecond);
      }
      note(`${ours}/${theirs} idle latency`, latency[theirs]?.p50Ms, latency[ours]?.p50Ms);
      note(`${ours}/${theirs} flows`, flows?.families[ours]?.jobsPerSecond, flows?.families[theirs]?.jobsPerSecond);
    }
  }
  for (const [kind, by] of Object.entries(work)) {
    for (const ours of ['toril', 'toril-reuse']) {
      for (const c of Object.keys(by[ours] ?? {})) {
        const [own, theirs] = [by[ours][c], by['node-inline']?.[c]];
        note(`${ours}/node-inline ${kind} c${c}`, own.jobsPerSecond, theirs?.jobsPerSecond);
        note(`${ours}/node-inline ${kind} c${c} processor time of all processes`, theirs?.allCpuMicros, own.allCpuMicros);
      }
    }
  }
  return found;
}

const byConcurrency = (figures) => Object.fromEntries(Object.entries(figures).flatMap(([name, by]) => (
  Object.entries(by).map(([c, figure]) => [`${name} c${c}`, figure]))));

function show(results) {
  const { throughput, typescript, languages, latency, execution, memory, startup, growth, flows, scaling, work, grants } = results;
  if (throughput) table('throughput', byConcurrency(throughput));
  if (typescript) table('TypeScript and JavaScript', byConcurrency(typescript));
  if (languages) {
    table('languages', byConcurrency(languages.figures));
    lines('KiB of a guest that waits', languages.perGuestKib);
  }
  if (latency) lines('added to completed on an idle queue', latency);
  if (execution) lines('one execution inside the host', execution);
  if (memory) lines('memory and an idle host', memory);
  if (startup) lines('from start to the first job, compiled code in the cache', startup);
  if (growth) table('jobs waiting', growth);
  if (flows) {
    table('flows of ten children', flows.families);
    table('one parent, children', flows.oneParent);
  }
  if (scaling) table('processes', scaling);
  for (const [kind, figures] of Object.entries(work ?? {})) table(`work: ${kind}`, byConcurrency(figures));
  const asked = servers(work ?? {});
  if (Object.keys(asked).length > 0) lines('what the server of the jobs saw', asked);
  if (grants) lines('memory of a host after 1,000 attempts with a grant and after 10,000', grants);
}

/** For jobs that ask a server: its processor time and how busy it was; for requests, connections and handshakes, too. */
function servers(work) {
  const asked = Object.entries(work).flatMap(([kind, by]) => Object.entries(byConcurrency(by)).map(([name, figure]) => [`${kind} ${name}`, figure]));
  return Object.fromEntries(asked.filter(([, { serverCpuMicros }]) => serverCpuMicros !== undefined)
    .map(([name, { connections, handshakes, serverBusy, serverCpuMicros }]) => (
      [name, { 'us/job': serverCpuMicros, 'server busy': serverBusy, ...(connections !== undefined && { connections, handshakes }) }])));
}

function save(file, measured) {
  const redis = execFileSync('redis-server', ['--version']).toString().match(/v=(\S+)/)[1];
  const machine = { cpu: cpus()[0].model, cores, node: process.version, redis };
  const about = { date: new Date().toISOString().slice(0, 10), machine, rounds: settings.rounds, jobs: settings.jobs };
  writeFileSync(file, JSON.stringify({ ...about, ...measured, ratios: ratios(measured) }, null, 1) + '\n');
}

async function main() {
  const file = join(here, 'results.json');
  const older = !beside && existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : {};
  const measured = Object.fromEntries(order.filter((name) => older[name]).map((name) => [name, older[name]]));
  const wanted = list('SECTIONS', order);
  for (const name of wanted) {
    console.error(`--- ${name}`);
    measured[name] = await sections[name](settings);
    // Each by itself: a later one that fails takes nothing along.
    if (!beside) save(file, measured);
  }
  show(measured);
  console.log();
  if (beside) measured.before = ratiosToBefore(settings.runs, measured);
  const lines = beside ? shownRatios(measured.before) : Object.entries(ratios(measured)).map(([name, value]) => `ratio ${name}: ${value.toFixed(2)}`);
  console.log(lines.join('\n'));
  if (measured.throughput && !beside) writeFileSync(join(here, 'throughput.svg'), plot(measured.throughput));
  const missed = misses(Object.fromEntries([...wanted, 'before'].map((name) => [name, measured[name]])));
  for (const miss of missed) console.log(`falls short: ${miss}`);
  process.exitCode = missed.length > 0 ? 1 : 0;
}

await main();
