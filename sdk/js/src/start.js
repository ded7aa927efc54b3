// The first and the last word of an attempt: finds the processor of a file, calls it, and says how it ended.
import './stacks.js';
import { host, phase } from './host.js';
import { CurrentJob, TOKEN } from './current-job.js';
import { setCurrent } from './current.js';
import { failureOf } from './errors.js';
import { forgetLimit, ownLimit } from './limit.js';
import { JobSignal } from './signal.js';
import { workers } from './worker.js';

/** What a module exports by default: BullMQ's sandboxed processors look twice, for modules that were transpiled. */
function defaultOf(module) {
  const found = module.default;
  return typeof found === 'function' ? found : (found?.default ?? found);
}

function processorFor(queueName, exported) {
  const found = workers.get(queueName) ?? exported;
  if (found) return found;
  const names = [...workers.keys()].map((name) => `\`${name}\``).join(', ');
  throw new Error(`this file has no worker for queue \`${queueName}\`, only for ${names}`);
}

function returned(value) {
  const text = JSON.stringify(value);
  return { ok: text === undefined ? 'null' : text };
}

/** Processors that may look at a third argument. The signal costs the others a tenth of a small job. */
const takers = new WeakMap();

function takesSignal(processor) {
  if (!takers.has(processor)) {
    const text = Function.prototype.toString.call(processor);
    const [parameters] = text.split(/=>|\)\s*\{/, 1);
    const three = processor.length > 2 || parameters.split(',').length > 2;
    takers.set(processor, three || /\barguments\b|\.\.\.|\[native code\]/.test(text));
  }
  return takers.get(processor);
}

async function attempt(exported) {
  phase.loading = false;
  forgetLimit();
  const job = new CurrentJob();
  let signal;
  setCurrent(job);
  try {
    const processor = workers.size ? processorFor(job.queueName, exported) : exported;
    signal = takesSignal(processor) ? new JobSignal() : undefined;
    return returned(await processor(job, TOKEN, signal));
  } catch (error) {
    return { failure: failureOf(error, ownLimit()) };
  } finally {
    signal?.end();
    setCurrent(undefined);
  }
}

/** Hands the processor of a module to the engine. */
export function start(module) {
  const exported = defaultOf(module);
  if (typeof exported !== 'function' && workers.size === 0) {
    throw new Error(
      'No function is exported in processor file: `export default async function (job) { … }`, or make a `Worker` for each queue',
    );
  }
  for (const processor of [exported, ...workers.values()]) if (typeof processor === 'function') takesSignal(processor);
  host.process = () => attempt(typeof exported === 'function' ? exported : undefined);
  const warmup = module.warmup ?? module.default?.warmup;
  if (typeof warmup === 'function') host.warmup = async () => void (await warmup());
}
