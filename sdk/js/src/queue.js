// BullMQ's `Queue`, as far as a processor can have it: the host holds the connection and judges each call by its grants.
import { ask, host } from './host.js';
import { limit } from './limit.js';
import { missingFunctions, missingMethods } from './missing.js';
import { newJob, optionsText } from './options.js';
import { AddedJob, FoundJob, qualified } from './other-job.js';
import { Connected } from './connected.js';
import { current } from './current.js';

/** States that are counted together by `count`. */
const WAITING = ['waiting', 'prioritized', 'delayed', 'waiting-children'];
const STATES = ['active', 'completed', 'delayed', 'failed', 'prioritized', 'waiting', 'waiting-children'];
/** Codes of the host for jobs that cannot be removed now. */
const NOT_REMOVED = ['not-in-state', 'lock-lost'];

/** A date that cannot be read is no number, which is refused. */
const timesAsNumbers = ({ startDate, endDate, ...rest }) => {
  const time = (date) => (date ? new Date(date).getTime() : undefined);
  return { ...rest, startDate: time(startDate), endDate: time(endDate) };
};

const isNoId = (id) => id === undefined || id === null;

function checkEnd({ endDate }) {
  if (endDate && new Date(endDate).getTime() < Date.now()) throw new Error('End date must be greater than current timestamp');
}

export class Queue extends Connected {
  constructor(name, opts = {}) {
    super(name, opts);
    this.jobsOpts = opts.defaultJobOptions ?? {};
  }

  get defaultJobOptions() {
    return { ...this.jobsOpts };
  }

  get qualifiedName() {
    return qualified(this.name);
  }

  #merged(options) {
    if (options?.jobId === null) throw new Error('Custom Id cannot be null');
    return { ...this.jobsOpts, ...options, jobId: options?.jobId };
  }

  async add(name, data, opts) {
    this.checkPrefix();
    const options = this.#merged(opts);
    const job = newJob(name, data, options);
    const id = ask(() => host.producer.add(this.name, job));
    return new AddedJob(this.name, id, name, data, options);
  }

  async addBulk(jobs) {
    this.checkPrefix();
    const all = jobs.map(({ name, data, opts }) => ({ name, data, options: this.#merged(opts) }));
    const asText = all.map(({ name, data, options }) => newJob(name, data, options));
    const ids = ask(() => host.producer.addBulk(this.name, asText));
    return all.map(({ name, data, options }, n) => new AddedJob(this.name, ids[n], name, data, options));
  }

  async getJob(id) {
    this.checkPrefix();
    if (!id) return undefined;
    const own = current();
    if (own && own.id === String(id) && own.queueName === this.name) return own;
    const query = JSON.stringify({ depth: 1, maxChildren: 1 });
    const found = JSON.parse(ask(() => host.producer.getFlow(this.name, String(id), query)));
    return found ? new FoundJob(found) : undefined;
  }

  async getJobState(id) {
    this.checkPrefix();
    const text = String(id ?? '');
    return text ? ask(() => host.producer.state(this.name, text)) : 'unknown';
  }

  /** By state; `wait` is `waiting`. */
  async getJobCounts(...types) {
    this.checkPrefix();
    const counts = JSON.parse(ask(() => host.queues.counts(this.name)));
    const asked = types.flat();
    const names = asked.length ? asked : STATES;
    return Object.fromEntries(names.map((name) => [name, counts[name === 'wait' ? 'waiting' : name] ?? 0]));
  }

  async getJobCountByTypes(...types) {
    return Object.values(await this.getJobCounts(...types)).reduce((sum, count) => sum + count, 0);
  }

  count() {
    return this.getJobCountByTypes(...WAITING);
  }

  async remove(id, { removeChildren = true } = {}) {
    this.checkPrefix();
    try {
      ask(() => host.producer.remove(this.name, String(id), removeChildren));
      return 1;
    } catch (error) {
      if (NOT_REMOVED.includes(error.code)) return 0;
      // In BullMQ, too, a job that is not there is as good as removed.
      if (error.code === 'not-found') return 1;
      throw error;
    }
  }

  async rateLimit(expireTimeMs) {
    this.checkPrefix();
    limit(this.name, expireTimeMs);
  }

  async upsertJobScheduler(id, repeat, template) {
    this.checkPrefix();
    // BullMQ makes a scheduler without a name of it, which no call can find again.
    if (isNoId(id)) throw new TypeError('upsertJobScheduler: the id of a scheduler must be a string');
    checkEnd(repeat);
    const name = template?.name ?? id;
    const data = template?.data ?? {};
    const options = { ...this.jobsOpts, ...template?.opts };
    const job = newJob(name, data, options);
    const schedule = optionsText(timesAsNumbers(repeat));
    const next = ask(() => host.schedulers.upsert(this.name, String(id), schedule, job));
    return next === undefined ? undefined : new AddedJob(this.name, next, name, data, { ...options, repeatJobKey: id });
  }

  async removeJobScheduler(id) {
    this.checkPrefix();
    return !isNoId(id) && ask(() => host.schedulers.remove(this.name, String(id)));
  }

  async getJobScheduler(id) {
    this.checkPrefix();
    return isNoId(id) ? undefined : (JSON.parse(ask(() => host.schedulers.get(this.name, String(id)))) ?? undefined);
  }

  async getJobSchedulers(start = 0, end = -1, asc = false) {
    this.checkPrefix();
    return JSON.parse(ask(() => host.schedulers.list(this.name, JSON.stringify({ start, end, asc }))));
  }

  async getJobSchedulersCount() {
    return (await this.getJobSchedulers()).length;
  }

  async removeDeduplicationKey(id) {
    this.checkPrefix();
    return ask(() => host.queues.removeDeduplicationKey(this.name, String(id))) ? 1 : 0;
  }

  removeDebounceKey(id) {
    return this.removeDeduplicationKey(id);
  }
}

for (const state of STATES) {
  const words = state.split('-').map((word) => word[0].toUpperCase() + word.slice(1));
  Object.defineProperty(Queue.prototype, `get${words.join('')}Count`, {
    value() {
      return this.getJobCountByTypes(state);
    },
    writable: true,
    configurable: true,
  });
}

const OPERATORS = 'that is for operators: the command line and the API of the host have it, and BullMQ in a service of your own';
const LISTS = 'jobs are read by their ids: `getJob`, `getJobState`, `getJobCounts`';
const METHODS = [
  [OPERATORS, 'pause resume isPaused isMaxed drain clean obliterate retryJobs promoteJobs trimEvents getWorkers getWorkersCount'],
  [OPERATORS, 'setGlobalConcurrency getGlobalConcurrency removeGlobalConcurrency setGlobalRateLimit getGlobalRateLimit'],
  [OPERATORS, 'removeGlobalRateLimit removeRateLimitKey getRateLimitTtl getMetrics exportPrometheusMetrics getMeta getVersion'],
  [OPERATORS, 'getQueueEvents recordJobCountsMetric'],
  [LISTS, 'getJobs getWaiting getActive getDelayed getCompleted getFailed getPrioritized getWaitingChildren getRanges'],
  [LISTS, 'getDependencies getCountsPerPriority getDeduplicationJobId getDebounceJobId getJobLogs'],
  ['a processor writes to its own job: `job.log`, `job.updateProgress`', 'addJobLog updateJobProgress'],
  ['use `upsertJobScheduler` and `removeJobScheduler`', 'getRepeatableJobs removeRepeatable removeRepeatableByKey'],
];
for (const [instead, names] of METHODS) {
  missingMethods(Queue.prototype, 'Queue', Object.fromEntries(names.split(' ').map((name) => [name, instead])));
}
missingFunctions(Queue.prototype, 'Queue', { toKey: OPERATORS });

/** BullMQ's producer of events of one's own. */
export class QueueEventsProducer extends Connected {
  async publishEvent({ eventName, ...fields }) {
    this.checkPrefix();
    // As BullMQ's client writes them: what is missing is empty.
    const text = (value) => String(value ?? '');
    const texts = Object.entries(fields).map(([name, value]) => [name, text(value)]);
    ask(() => host.queues.publishEvent(this.name, text(eventName), texts));
  }
}
