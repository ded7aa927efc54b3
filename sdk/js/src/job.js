// BullMQ's `Job`: what the job of an attempt and the jobs of a queue have in common.
import { ask, host } from './host.js';
import { dataText, milliseconds } from './options.js';
import { missing, missingMethods } from './missing.js';

/** States in which a job has ended. */
const FINISHED = ['completed', 'failed'];
/** What the host takes; larger ones have no order among themselves that Redis could keep exactly. */
const PRIORITY_MAX = 2 ** 32 - 1;

/** Makes jobs; `new Job()` of a processor is refused. */
export const maker = Symbol('maker');

/** The fields of a job, in the order in which they are shown. */
export const FIELDS = [
  'id', 'name', 'data', 'opts', 'queueQualifiedName', 'progress', 'returnvalue', 'stacktrace', 'delay', 'priority',
  'timestamp', 'attemptsStarted', 'attemptsMade', 'stalledCounter', 'failedReason', 'deferredFailure', 'finishedOn',
  'processedOn', 'parentKey', 'parent', 'deduplicationId', 'repeatJobKey', 'token', 'processedBy',
];

const withoutUndefined = (object) => Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined));

export class Job {
  constructor(key) {
    if (key !== maker) throw missing('new Job()', 'add a job with `queue.add(name, data, options)`');
  }

  get queueName() {
    const qualified = this.queueQualifiedName;
    return qualified.slice(qualified.lastIndexOf(':') + 1);
  }

  get prefix() {
    return this.queueQualifiedName.slice(0, -this.queueName.length - 1);
  }

  /** The fields that are known; those that cannot be read are left out. */
  toJSON() {
    return withoutUndefined(Object.fromEntries(FIELDS.map((name) => [name, this[name]])));
  }

  asJSON() {
    const { id, name, data, opts, parent, parentKey, progress, attemptsMade, attemptsStarted, stalledCounter } = this;
    const { finishedOn, processedOn, timestamp, failedReason, stacktrace, deduplicationId, repeatJobKey, returnvalue } = this;
    return withoutUndefined({
      id, name, data: dataText(data), opts, parent: parent && { ...parent }, parentKey, progress, attemptsMade,
      attemptsStarted, stalledCounter, finishedOn, processedOn, timestamp, failedReason: JSON.stringify(failedReason),
      stacktrace: JSON.stringify(stacktrace), deduplicationId, repeatJobKey, returnvalue: JSON.stringify(returnvalue),
    });
  }

  asJSONSandbox() {
    const { queueName, queueQualifiedName, prefix } = this;
    return { ...this.asJSON(), queueName, queueQualifiedName, prefix };
  }

  [Symbol.for('nodejs.util.inspect.custom')](_depth, options, inspect) {
    const json = this.toJSON();
    return inspect ? `Job ${inspect(json, options)}` : json;
  }

  async getState() {
    return ask(() => host.producer.state(this.queueName, this.id));
  }

  async isCompleted() {
    return (await this.getState()) === 'completed';
  }

  async isFailed() {
    return (await this.getState()) === 'failed';
  }

  async isDelayed() {
    return (await this.getState()) === 'delayed';
  }

  async isWaitingChildren() {
    return (await this.getState()) === 'waiting-children';
  }

  async isActive() {
    return (await this.getState()) === 'active';
  }

  async isWaiting() {
    return (await this.getState()) === 'waiting';
  }

  async remove({ removeChildren = true } = {}) {
    ask(() => host.producer.remove(this.queueName, this.id, removeChildren));
  }

  async changeDelay(delay) {
    const ms = milliseconds('changeDelay: the delay', delay);
    ask(() => host.queues.changeDelay(this.queueName, this.id, ms));
    this.delay = delay;
  }

  async changePriority({ priority = 0, lifo = false } = {}) {
    const number = Number(priority);
    if (!(number >= 0 && number <= PRIORITY_MAX)) throw new Error(`Priority should be between 0 and ${PRIORITY_MAX}`);
    if (!Number.isInteger(number)) throw new Error('Priority should not be float');
    ask(() => host.queues.changePriority(this.queueName, this.id, number, Boolean(lifo)));
    this.priority = priority;
  }

  async promote() {
    ask(() => host.queues.promote(this.queueName, this.id));
    this.delay = 0;
  }

  async retry(state = 'failed', options = {}) {
    const unknown = Object.keys(options).find((name) => options[name]);
    if (unknown) throw missing(`Job.retry with ${unknown}`, 'the counters of a job that is retried stay as they are');
    // In BullMQ no job is in a state that is none.
    if (!FINISHED.includes(state)) throw new Error(`Job ${this.id} is not in the ${state} state. reprocessJob`);
    ask(() => host.queues.retry(this.queueName, this.id, state));
    this.failedReason = null;
    this.finishedOn = null;
    this.processedOn = null;
    this.returnvalue = null;
  }

  async removeDeduplicationKey() {
    const id = this.deduplicationId;
    return id ? ask(() => host.queues.removeDeduplicationKey(this.queueName, id)) : false;
  }
}

const OF_ANOTHER_JOB = 'it works on the job that the processor was called for';
missingMethods(Job.prototype, 'Job', {
  updateData: OF_ANOTHER_JOB,
  updateProgress: OF_ANOTHER_JOB,
  log: OF_ANOTHER_JOB,
  moveToDelayed: OF_ANOTHER_JOB,
  moveToWaitingChildren: OF_ANOTHER_JOB,
  moveToWait: OF_ANOTHER_JOB,
  removeUnprocessedChildren: OF_ANOTHER_JOB,
  removeChildDependency: OF_ANOTHER_JOB,
  extendLock: OF_ANOTHER_JOB,
  step: OF_ANOTHER_JOB,
  sleep: OF_ANOTHER_JOB,
  call: OF_ANOTHER_JOB,
  cursor: OF_ANOTHER_JOB,
  getChildrenValues: `${OF_ANOTHER_JOB}; \`FlowProducer.getFlow\` reads the results of other jobs`,
  getFailedChildrenValues: `${OF_ANOTHER_JOB}; \`FlowProducer.getFlow\` reads the results of other jobs`,
  getIgnoredChildrenFailures: `${OF_ANOTHER_JOB}; \`FlowProducer.getFlow\` reads the results of other jobs`,
  getDependencies: `${OF_ANOTHER_JOB}; \`FlowProducer.getFlow\` reads the children of other jobs`,
  getDependenciesCount: `${OF_ANOTHER_JOB}; \`FlowProducer.getFlow\` reads the children of other jobs`,
  moveToCompleted: 'return the value',
  moveToFailed: 'throw an error; `UnrecoverableError` is not tried again',
  clearLogs: 'the option `keepLogs` limits how many lines a job keeps',
  waitUntilFinished:
    'add the other job with `job.call`; or make it a child (`parent: { id: job.id, queue: job.queueQualifiedName }`) and wait for it with `moveToWaitingChildren`',
});
missingMethods(Job, 'Job', {
  create: 'use `queue.add`',
  createBulk: 'use `queue.addBulk`',
  fromId: 'use `queue.getJob`',
  addJobLog: 'use `job.log`',
});
