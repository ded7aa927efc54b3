// The job that the processor was called for. Its fields are read from the host when somebody first asks for them: most
// processors need few, and fewer calls are a faster job.
import { ask, host } from './host.js';
import { DelayedError, WaitingChildrenError } from './errors.js';
import { dataText, longOptions, newJob } from './options.js';
import { FIELDS, Job, maker } from './job.js';

/** Stands for the lock's token, which the host keeps to itself: processors hand it on, and some check that there is one. */
export const TOKEN = 'held-by-the-host';

const optional = (text) => (text === undefined ? undefined : JSON.parse(text));

/** What JSON keeps of a value; a step's is null where there is none. */
const keptText = (value) => JSON.stringify(value) ?? 'null';

function checkStep(method, name) {
  if (typeof name !== 'string') throw new TypeError(`${method}: the name of a step is a string, which is the same in each attempt`);
}

/** How each field is read. Those that are not here are not known while the job runs. */
const READ = {
  id: () => host.job.id(),
  name: () => host.job.name(),
  data: () => JSON.parse(host.job.data()),
  opts: () => longOptions(host.job.opts()),
  queueName: () => host.job.queueName(),
  queueQualifiedName: () => host.job.queueQualifiedName(),
  progress: () => JSON.parse(host.job.progress() || '0') ?? 0,
  returnvalue: () => null,
  stacktrace: () => host.job.stacktrace(),
  delay: () => host.job.delay(),
  priority: () => host.job.priority(),
  timestamp: () => host.job.timestamp(),
  attemptsStarted: () => host.job.attemptsStarted(),
  attemptsMade: () => host.job.attemptsMade(),
  stalledCounter: () => host.job.stalledCounter(),
  failedReason: () => host.job.failedReason(),
  processedOn: () => host.job.processedOn(),
  parentKey: () => host.job.parentKey(),
  parent: () => optional(host.job.parent()),
  deduplicationId: () => host.job.deduplicationId(),
  repeatJobKey: () => host.job.repeatJobKey(),
  token: () => TOKEN,
};

/** A property that is read once and then is a field like any other. */
function lazy(name) {
  const set = (job, value) =>
    Object.defineProperty(job, name, { value, writable: true, enumerable: true, configurable: true });
  return {
    get() {
      const value = READ[name]();
      set(this, value);
      return value;
    },
    set(value) {
      set(this, value);
    },
    enumerable: true,
    configurable: true,
  };
}

/** A place in a long loop. */
class Cursor {
  #name;

  constructor(name) {
    this.#name = name;
    this.value = optional(ask(() => host.steps.cursor(name)));
  }

  async set(place) {
    const text = keptText(place);
    ask(() => host.steps.setCursor(this.#name, text));
    this.value = JSON.parse(text);
  }
}

export class CurrentJob extends Job {
  /** Where the attempt moved the job, if it did. */
  #moved;

  constructor() {
    super(maker);
  }

  async updateData(data) {
    this.data = data;
    ask(() => host.job.updateData(dataText(data)));
  }

  async updateProgress(progress) {
    this.progress = progress;
    ask(() => host.job.updateProgress(JSON.stringify(progress) ?? 'null'));
  }

  async log(row) {
    return ask(() => host.job.log(String(row ?? '')));
  }

  async moveToDelayed(timestamp) {
    // BullMQ subtracts, which converts; a time that is no number has come.
    const time = Math.max(0, timestamp - 0 || 0);
    if (time === Infinity) throw new TypeError('moveToDelayed: the timestamp must be a number of milliseconds');
    ask(() => host.job.moveToDelayed(Math.trunc(time)));
    this.delay = Math.max(0, time - Date.now());
    this.#moved = 'delayed';
  }

  async moveToWaitingChildren(_token, { child } = {}) {
    const key = child && `${child.queue}:${child.id}`;
    const waits = ask(() => host.job.moveToWaitingChildren(key));
    if (waits) this.#moved = 'waiting-children';
    return waits;
  }

  async moveToWait() {
    ask(() => host.job.moveToWait());
    this.#moved = 'waiting';
    return 0;
  }

  async step(name, run) {
    checkStep('step', name);
    if (typeof run !== 'function') throw new TypeError(`step: what \`${name}\` does is a function`);
    const kept = ask(() => host.steps.begin(name));
    if (kept !== undefined) return JSON.parse(kept);
    const text = keptText(await run());
    ask(() => host.steps.finish(name, text));
    // As later attempts have it: a date is a string in all of them.
    return JSON.parse(text);
  }

  async sleep(name, milliseconds) {
    checkStep('sleep', name);
    if (!Number.isFinite(milliseconds)) throw new TypeError('sleep: the duration must be a number of milliseconds');
    if (!ask(() => host.steps.sleep(name, Math.max(0, Math.ceil(milliseconds))))) return;
    this.#moved = 'delayed';
    throw new DelayedError();
  }

  async call(name, { queue, name: jobName, data, opts = {} } = {}) {
    checkStep('call', name);
    if (typeof queue !== 'string') throw new TypeError('call: the queue of the job must be its name');
    const job = newJob(jobName, data, opts);
    const { kind, text } = ask(() => host.steps.call(name, queue, job));
    if (kind === 'completed') return JSON.parse(text);
    if (kind === 'failed') throw new Error(text);
    this.#moved = 'waiting-children';
    throw new WaitingChildrenError();
  }

  async cursor(name) {
    checkStep('cursor', name);
    return new Cursor(name);
  }

  async getState() {
    return this.#moved ?? 'active';
  }

  async getChildrenValues() {
    const values = ask(() => host.job.childrenValues());
    return Object.fromEntries(values.map(([key, value]) => [key, JSON.parse(value)]));
  }

  async getFailedChildrenValues() {
    return Object.fromEntries(ask(() => host.job.failedChildrenValues()));
  }

  getIgnoredChildrenFailures() {
    return this.getFailedChildrenValues();
  }

  async getDependencies(query = {}) {
    return JSON.parse(ask(() => host.job.dependencies(JSON.stringify(query))));
  }

  async getDependenciesCount(kinds = {}) {
    return JSON.parse(ask(() => host.job.dependenciesCount(JSON.stringify(kinds))));
  }

  /** How many were removed; BullMQ does not say. */
  async removeUnprocessedChildren() {
    return ask(() => host.job.removeUnprocessedChildren());
  }

  async removeChildDependency() {
    if (!ask(() => host.job.removeChildDependency())) return false;
    this.parent = undefined;
    this.parentKey = undefined;
    return true;
  }

  /** The host renews the lock by itself, as long as the job runs. */
  async extendLock() {
    return 1;
  }
}

// There is one class of jobs in BullMQ.
Object.defineProperty(CurrentJob, 'name', { value: 'Job', configurable: true });
for (const name of Object.keys(READ)) Object.defineProperty(CurrentJob.prototype, name, lazy(name));
for (const name of FIELDS.filter((name) => !(name in READ))) CurrentJob.prototype[name] = undefined;
