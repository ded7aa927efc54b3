// BullMQ's `Worker`: here it only says which function processes the jobs of a queue. The host fetches the jobs.
import { host } from './host.js';
import { limit } from './limit.js';
import { Connected } from './connected.js';
import { missing, missingMethods } from './missing.js';
import { RateLimitError } from './errors.js';

/** The processor of each queue that a `Worker` of the file names. */
export const workers = new Map();

function check(name, processor) {
  if (typeof processor === 'string' || typeof processor?.href === 'string') {
    throw missing(`new Worker('${name}', '${processor}')`, `build that file instead: it is the processor of queue \`${name}\``);
  }
  if (typeof processor !== 'function') {
    throw missing(`new Worker('${name}') without a processor`, 'the host fetches the jobs; give the function that processes them');
  }
  if (workers.has(name)) {
    throw new Error(`this file has two workers for queue \`${name}\`: join their processors into one function`);
  }
}

export class Worker extends Connected {
  static RateLimitError() {
    return new RateLimitError();
  }

  constructor(name, processor, opts = {}) {
    super(name, opts);
    check(name, processor);
    workers.set(name, processor);
  }

  async run() {}

  isRunning() {
    return true;
  }

  isPaused() {
    return false;
  }

  /** Limits the queue of the job; leave with `RateLimitError` to give the job back. */
  async rateLimit(expireTimeMs) {
    limit(host.job.queueName(), expireTimeMs);
  }
}

const OPERATORS = 'that is for operators: the command line and the admin API have it';
missingMethods(Worker.prototype, 'Worker', {
  pause: OPERATORS,
  resume: OPERATORS,
  cancelJob: OPERATORS,
  cancelAllJobs: OPERATORS,
  getNextJob: 'the host fetches the jobs',
  startStalledCheckTimer: 'the host looks for stalled jobs',
  extendJobLocks: 'the host renews locks',
});
