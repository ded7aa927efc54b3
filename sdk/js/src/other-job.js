// Jobs of a queue: one that was added, or one that was found by its id.
import { host } from './host.js';
import { FIELDS, Job, maker } from './job.js';
import { backoffOf } from './options.js';

/** `prefix:queue` of a queue by its name: all queues that a processor reaches have its own job's prefix. */
export function qualified(queueName) {
  const own = host.job.queueQualifiedName();
  return own.slice(0, own.length - host.job.queueName().length) + queueName;
}

const POLICIES = {
  failParentOnFailure: 'fpof',
  removeDependencyOnFailure: 'rdof',
  ignoreDependencyOnFailure: 'idof',
  continueParentOnFailure: 'cpof',
};

function parentOf({ parent, ...options }) {
  if (!parent) return undefined;
  const policies = Object.keys(POLICIES).filter((name) => options[name]);
  return { id: parent.id, queueKey: parent.queue, ...Object.fromEntries(policies.map((name) => [POLICIES[name], true])) };
}

/** A job as it was added. */
export class AddedJob extends Job {
  constructor(queueName, id, name, data, options = {}) {
    super(maker);
    const { repeatJobKey, ...opts } = options;
    const parent = parentOf(opts);
    Object.assign(this, {
      name, data, opts: { attempts: 0, ...opts, backoff: backoffOf(opts.backoff) }, id,
      queueQualifiedName: qualified(queueName), progress: 0, returnvalue: null, stacktrace: null, delay: opts.delay,
      priority: opts.priority || 0, attemptsStarted: 0, attemptsMade: 0, stalledCounter: 0,
      timestamp: opts.timestamp || Date.now(), repeatJobKey, parent, parentKey: parent && `${parent.queueKey}:${parent.id}`,
      deduplicationId: opts.deduplication?.id,
    });
  }
}

/** A job that was looked for: the host tells its name, its state and how it ended. */
export class FoundJob extends Job {
  #state;

  constructor({ id, name, queueName, state, returnvalue = null, failedReason }) {
    super(maker);
    this.#state = state;
    Object.assign(this, { id, name, queueQualifiedName: qualified(queueName), returnvalue, failedReason });
  }

  toJSON() {
    return Object.fromEntries(FIELDS.filter((field) => Object.hasOwn(this, field)).map((field) => [field, this[field]]));
  }

  [Symbol.for('nodejs.util.inspect.custom')](_depth, options, inspect) {
    const json = { ...this.toJSON(), state: this.#state };
    return inspect ? `Job ${inspect(json, options)}` : json;
  }
}

const KNOWN = ['id', 'name', 'queueQualifiedName', 'returnvalue', 'failedReason'];
for (const field of FIELDS.filter((field) => !KNOWN.includes(field))) {
  Object.defineProperty(FoundJob.prototype, field, {
    get() {
      throw new Error(
        `\`${field}\` of job ${this.id} in queue \`${this.queueName}\` cannot be read: a processor sees of other jobs their id, name, state, returnvalue and failedReason`,
      );
    },
    set(value) {
      Object.defineProperty(this, field, { value, writable: true, enumerable: true, configurable: true });
    },
    configurable: true,
  });
}
