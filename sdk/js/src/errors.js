// BullMQ's errors with a special meaning, and what an attempt that threw ends as.
import { throwAs } from './host.js';
import { headOf } from './stacks.js';

export const DELAYED_ERROR = 'bullmq:movedToDelayed';
export const WAITING_ERROR = 'bullmq:movedToWait';
export const WAITING_CHILDREN_ERROR = 'bullmq:movedToWaitingChildren';
export const RATE_LIMIT_ERROR = 'bullmq:rateLimitExceeded';
export const UNRECOVERABLE_ERROR = 'bullmq:unrecoverable';

/** A class of errors whose instances are named like it. */
const special = (name, message) => {
  const made = {
    [name]: class extends Error {
      constructor(text = message, options) {
        super(text, options);
        this.name = name;
      }
    },
  };
  return made[name];
};

export const DelayedError = special('DelayedError', DELAYED_ERROR);
export const WaitingError = special('WaitingError', WAITING_ERROR);
export const WaitingChildrenError = special('WaitingChildrenError', WAITING_CHILDREN_ERROR);
export const RateLimitError = special('RateLimitError', RATE_LIMIT_ERROR);
export const UnrecoverableError = special('UnrecoverableError', UNRECOVERABLE_ERROR);

throwAs('child-failed', (error) => new UnrecoverableError(error.message, { cause: error }));

const KINDS = [
  [DelayedError, 'delayed'],
  [WaitingError, 'waiting'],
  [WaitingChildrenError, 'waiting-children'],
  [RateLimitError, 'rate-limited'],
  [UnrecoverableError, 'unrecoverable'],
];
/** As deep as a chain of causes is followed. */
const CAUSES_MAX = 100;
const CAUSES_SHOWN = 5;

/** BullMQ knows its errors by their names, too: a package may bring a second copy of their classes. */
function kindOf(error) {
  if (error === null || typeof error !== 'object') return undefined;
  if (error.message === RATE_LIMIT_ERROR) return 'rate-limited';
  return KINDS.find(([type]) => error instanceof type || error.name === type.name)?.[1];
}

function kindInChain(thrown) {
  let error = thrown;
  for (let depth = 0; depth < CAUSES_MAX && error !== undefined; depth += 1) {
    const kind = kindOf(error);
    if (kind) return kind;
    error = error?.cause;
  }
  return 'failed';
}

/** The text of what was thrown, whatever it is: `failedReason`. */
function messageOf(thrown) {
  if (thrown !== null && typeof thrown === 'object') {
    // V8's words for what `Promise.any` rejects with; QuickJS has none.
    if (thrown instanceof AggregateError && thrown.message === '') return 'All promises were rejected';
    const isError = thrown instanceof Error;
    if (typeof thrown.message === 'string' && (isError || thrown.message !== '')) return thrown.message;
    if (isError) return thrown.name;
    try {
      return JSON.stringify(thrown) ?? String(thrown);
    } catch {
      return Object.prototype.toString.call(thrown);
    }
  }
  return String(thrown);
}

/** A stack without its first line has it added: that of an error which was made before the runtime, or by hand. */
function stackOf(thrown) {
  if (!(thrown instanceof Error) && typeof thrown?.stack !== 'string') return undefined;
  const head = headOf(thrown);
  // The engine gives no stack to an error for which there is no room on it.
  const stack = typeof thrown.stack === 'string' ? thrown.stack : '';
  if (stack.startsWith('    at ') || stack === '') return `${head}\n${stack}`.trimEnd();
  // The host's errors get their message once they have a stack.
  const [first, ...places] = stack.split('\n');
  return first === thrown.name ? [head, ...places].join('\n') : stack;
}

/** The stacks of an error and of its causes, as far as there are any: `fetch failed` says nothing by itself. */
function stacksOf(thrown) {
  const stacks = [stackOf(thrown)];
  let cause = thrown?.cause;
  for (let depth = 0; depth < CAUSES_SHOWN && cause !== undefined; depth += 1) {
    stacks.push(`Caused by: ${stackOf(cause) ?? messageOf(cause)}`);
    cause = cause?.cause;
  }
  return stacks[0] === undefined ? undefined : stacks.join('\n');
}

/** The failure that an attempt ends as. A getter of what was thrown may throw in turn: that is the reason then. */
export function failureOf(thrown, limitMs) {
  try {
    const kind = kindInChain(thrown);
    if (kind === 'rate-limited') return { kind, durationMs: limitMs };
    return { kind, message: messageOf(thrown), stack: stacksOf(thrown) };
  } catch (error) {
    return { kind: 'failed', message: messageOf(error), stack: undefined };
  }
}
