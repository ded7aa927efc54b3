// Stands in for the engine where only the runtime's logic is tested: the script runs in a bare context of `node:vm`, and
// the host is a list of calls with answers. What depends on the engine is tested in it.
import { mkdtemp, mkdir, writeFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import vm from 'node:vm';
import { bundle } from '../bundle/index.mjs';

/** Bundles a processor that is given as files by name; the first is the entry. */
export async function bundled(files, options) {
  const all = typeof files === 'string' ? { 'processor.ts': files } : files;
  const dir = await mkdtemp(join(tmpdir(), 'toril-sdk-'));
  try {
    await writeFile(join(dir, 'package.json'), '{}');
    for (const [name, text] of Object.entries(all)) {
      await mkdir(dirname(join(dir, name)), { recursive: true });
      await writeFile(join(dir, name), text);
    }
    return { ...(await bundle(join(dir, Object.keys(all)[0]), options)), dir };
  } finally {
    await rm(dir, { recursive: true });
  }
}

const JOB = {
  id: '7', name: 'paint', queueName: 'walls', queueQualifiedName: 'bull:walls', data: '{"walls":3}',
  opts: '{"attempts":2,"kl":5,"fpof":true,"de":{"id":"d"},"tm":"trace","backoff":{"type":"fixed","delay":9}}',
  attemptsMade: 1, attemptsStarted: 2, timestamp: 1000, delay: 0, priority: 4, progress: '{"done":1}',
  parentKey: 'bull:top:1', parent: '{"id":"1","queueKey":"bull:top"}', repeatJobKey: undefined, stalledCounter: 0,
  failedReason: 'before', stacktrace: ['Error: before'], processedOn: 2000, deduplicationId: 'd', isCancelled: false,
  cancelReason: undefined, log: 1, moveToWaitingChildren: true, childrenValues: [['bull:steps:1', '{"cost":5}']],
  failedChildrenValues: [['bull:steps:2', 'no paint']], removeUnprocessedChildren: 2, removeChildDependency: true,
  dependencies: '{"processed":{},"unprocessed":[]}', dependenciesCount: '{"processed":1}',
};

/** Nothing was kept of any step. */
const STEPS = { sleep: true, call: { kind: 'waiting' } };

/** An error as the engine throws it. */
export const refusal = (code, message) => () => {
  throw Object.assign(new Error(message), { code });
};

/** What Node says of a time in a zone. */
function told(timeZone, time, timeZoneName) {
  const parts = new Intl.DateTimeFormat('en-US', { timeZone, timeZoneName }).formatToParts(time);
  return parts.find(({ type }) => type === 'timeZoneName').value;
}

function zoneName(name) {
  try {
    return new Intl.DateTimeFormat('en-US', { timeZone: name }).resolvedOptions().timeZone;
  } catch {
    return undefined;
  }
}

function zoneAt(name, time) {
  const [, sign = '+', hours = 0, minutes = 0, seconds = 0] = /GMT([+-])(\d\d):(\d\d)(?::(\d\d))?/.exec(told(name, time, 'longOffset')) ?? [];
  const distance = Number(hours) * 3600 + Number(minutes) * 60 + Number(seconds);
  return [sign === '-' ? -distance : distance, told(name, time, 'short')];
}

/** A host whose functions note their calls; `answers` has values, or functions of the arguments. */
function fakeHost(answers, calls) {
  const part = (name, own = {}) =>
    new Proxy(
      {},
      {
        get: (_, call) => (...args) => {
          calls.push([`${name}.${call}`, ...structuredClone(args)]);
          const answer = answers[`${name}.${call}`] ?? own[call];
          return typeof answer === 'function' ? answer(...args) : answer;
        },
      },
    );
  return {
    job: part('job', JOB),
    producer: part('producer'),
    queues: part('queues'),
    schedulers: part('schedulers'),
    steps: part('steps', STEPS),
    kv: part('kv'),
    logging: part('logging'),
    environment: () => Object.entries(answers.environment ?? {}),
    randomBytes: (count) => crypto.getRandomValues(new Uint8Array(count)).buffer,
    monotonicMs: () => performance.now(),
    mapStack: (stack) => stack,
    zoneName,
    zoneNames: () => Intl.supportedValuesOf('timeZone'),
    zoneAt,
    encodeUtf8: (text) => new TextEncoder().encode(text).buffer,
    decodeUtf8(buffer, start, end, fatal) {
      try {
        return new TextDecoder('utf-8', { fatal, ignoreBOM: true }).decode(new Uint8Array(buffer, start, end - start));
      } catch {
        return undefined;
      }
    },
    http: answers.http,
  };
}

/** Another loader for scripts: TORIL_SDK_LOADER is a module that exports `load`, which takes what this one takes. */
const other = process.env.TORIL_SDK_LOADER && (await import(process.env.TORIL_SDK_LOADER));

/** Loads a script, and gives what runs it: `run()` is an attempt, `calls` what it asked of the host. */
export function load(script, answers = {}) {
  if (other) return other.load(script, answers, JOB);
  const calls = [];
  const host = fakeHost(answers, calls);
  const context = vm.createContext({ __toril: host, setTimeout, clearTimeout, setInterval, clearInterval, queueMicrotask });
  vm.runInContext(script, context, { filename: 'processor.js' });
  const plain = (value) => JSON.parse(JSON.stringify(value));
  return {
    calls,
    context,
    warmup: host.warmup,
    run: async () => plain(await host.process()),
    lines: () => calls.filter(([name]) => name === 'logging.log').map(([, level, line]) => [level, line]),
  };
}

/** Bundles and loads a processor. */
export async function loaded(files, answers) {
  return load((await bundled(files)).script, answers);
}

/** What a processor whose body is `body` returns. */
export async function result(body, answers, imports = '') {
  const { run } = await loaded(`${imports}\nexport default async function (job: any, token: any, signal: any) { ${body} }`, answers);
  const outcome = await run();
  if (outcome.failure) throw new Error(`${outcome.failure.message}\n${outcome.failure.stack}`);
  return JSON.parse(outcome.ok);
}
