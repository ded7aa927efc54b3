// Rate limits that the attempt set: `RateLimitError` says that the job goes back, and for how long was said before.
import { ask, host } from './host.js';
import { lifetime } from './options.js';

let ownLimitMs = 0;

/** Limits a queue for a time. That of the job may be limited without a grant, by leaving with `RateLimitError`. */
export function limit(queueName, durationMs) {
  const ms = lifetime('rateLimit: the duration', durationMs);
  const own = queueName === host.job.queueName();
  if (own) ownLimitMs = ms;
  try {
    ask(() => host.queues.rateLimit(queueName, ms));
  } catch (error) {
    if (!own || error.code !== 'denied') throw error;
  }
}

/** For how long the job's own queue was limited by this attempt. */
export const ownLimit = () => ownLimitMs;

/** Forgets what the attempt before set. */
export function forgetLimit() {
  ownLimitMs = 0;
}
