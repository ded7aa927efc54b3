// What BullMQ's classes that hold a connection have in common. Here the host holds it: it is always ready, and closing
// is nothing to do.
import { host } from './host.js';
import { missing } from './missing.js';

/** Events of a connection: it never has any, so that listeners for them may be there. */
const OF_CONNECTIONS = ['error', 'ready', 'closing', 'closed', 'ioredis:close'];

export class Connected {
  constructor(name, opts = {}) {
    if (typeof name !== 'string' || name === '') throw new Error('Queue name must be provided');
    if (name.includes(':')) throw new Error('Queue name cannot contain :');
    this.name = name;
    this.opts = opts;
  }

  /** Other prefixes than the job's are beyond what a processor reaches. */
  checkPrefix() {
    const { prefix } = this.opts;
    if (prefix === undefined) return;
    const own = host.job.queueQualifiedName().slice(0, -host.job.queueName().length - 1);
    if (prefix !== own) throw missing(`queue \`${this.name}\` of the prefix \`${prefix}\``, `its queues have the prefix \`${own}\``);
  }

  async waitUntilReady() {}

  async close() {}

  async disconnect() {}

  on(event) {
    if (OF_CONNECTIONS.includes(event)) return this;
    throw missing(
      `${this.constructor.name}.on('${event}')`,
      'a processor hears no events; listen with `QueueEvents` in a service of your own',
    );
  }

  once(event) {
    return this.on(event);
  }

  addListener(event) {
    return this.on(event);
  }

  off() {
    return this;
  }

  removeListener() {
    return this;
  }

  removeAllListeners() {
    return this;
  }

  setMaxListeners() {
    return this;
  }
}
