// Random jobs, always the same ones for a seed: what they do, the options they are added with, and how the queue is
// worked.

/** Numbers from a seed (mulberry32), and picks made with them. */
export function dice(seed) {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (count) => Math.floor(next() * count);
  const one = (...choices) => choices[below(choices.length)];
  const chance = (share) => next() < share;
  return { below, one, chance };
}

/**
 * A queue: its worker's options and the jobs added to it. `ordered`: one job at a time, and none waits for a time, so
 * that all happens in one order.
 */
export function randomRound(seed, jobs, { concurrency, ordered }) {
  const roll = dice(seed);
  // A job that fails without being run (its child failed it, or it started too often) ends in the millisecond of the one
  // before it. Which of the two a rule takes that counts failed jobs is chance: a queue has such jobs or such rules.
  const failsUnrun = !ordered || roll.chance(0.5);
  const retains = { completed: ordered ? anyRule : harmlessRule, failed: failsUnrun ? harmlessRule : anyRule };
  const context = { roll, ordered, failsUnrun, retains, concurrency };
  const entries = Array.from({ length: jobs }, (_, n) => (roll.chance(0.2) ? family(context, n) : single(context, n)));
  return { seed, concurrency, ordered, worker: randomWorker(context), entries };
}

/** Options of the worker, as Node takes them and as toril.toml does. */
function randomWorker({ roll, ordered, failsUnrun, concurrency, retains }) {
  const node = { concurrency };
  const toril = { concurrency };
  const set = (nodeName, torilName, value) => {
    if (value === undefined) return;
    node[nodeName] = value;
    toril[torilName] = typeof value === 'number' && nodeName.startsWith('remove') ? { count: value } : value;
  };
  if (roll.chance(0.4)) set('removeOnComplete', 'remove_on_complete', asObject(retains.completed(roll)));
  if (roll.chance(0.4)) set('removeOnFail', 'remove_on_fail', asObject(retains.failed(roll)));
  if (failsUnrun && roll.chance(0.3)) set('maxStartedAttempts', 'max_started_attempts', 3 + roll.below(3));
  if (!ordered) {
    // Guests limit the rate of queues only where the worker heeds it.
    node.limiter = { max: 10_000, duration: 1000 };
    toril.limiter = { max: 10_000, duration_ms: 1000 };
  }
  if (roll.chance(0.3)) set('name', 'name', 'w1');
  if (roll.chance(0.3)) {
    node.metrics = { maxDataPoints: 10 };
    toril.metrics_points = 10;
  }
  return { node, toril };
}

/** A worker takes its rule as an object only. */
function asObject(rule) {
  if (typeof rule === 'number') return { count: rule };
  if (rule === true) return { count: 0 };
  return typeof rule === 'object' ? rule : undefined;
}

/** What is kept depends on the order in which jobs end: for queues where that is known. */
const anyRule = (roll) => roll.one(
  true,
  false,
  roll.below(5),
  -1,
  { count: roll.below(5) },
  { age: 3600 },
  { age: 3600, count: 1 + roll.below(5) },
  { age: 3600, count: 1 + roll.below(5), limit: 1 + roll.below(3) },
  { age: 3600, limit: 2 },
);

/** Removes only the job itself, or nothing. */
const harmlessRule = (roll) => roll.one(true, false, 100_000, { count: 100_000 }, { age: 3600 }, { count: 0 });

function randomOptions(context, n) {
  const { roll, ordered, retains } = context;
  const opts = {};
  if (roll.chance(0.6)) opts.attempts = roll.below(5);
  if (!ordered && roll.chance(0.4)) opts.backoff = randomBackoff(roll);
  if (roll.chance(0.35)) opts.removeOnComplete = retains.completed(roll);
  if (roll.chance(0.35)) opts.removeOnFail = retains.failed(roll);
  if (roll.chance(0.15)) opts.lifo = true;
  if (roll.chance(0.2)) opts.priority = 1 + roll.below(4);
  if (!ordered && roll.chance(0.15)) opts.delay = roll.below(40);
  if (roll.chance(0.2)) opts.keepLogs = roll.below(4);
  if (roll.chance(0.25)) opts.stackTraceLimit = roll.below(4);
  if (roll.chance(0.15)) opts.jobId = `own-${n}`;
  return opts;
}

/**
 * What no type allows and JavaScript takes all the same. Left out is what BullMQ itself breaks on: counts that are no
 * whole numbers, and attempts that Lua reads as none (the job leaves `active`, and no event says so), and a backoff
 * without a known type (it stays there). `options.mjs` has those, too.
 */
const oddOptions = [
  { attempts: -1 },
  { attempts: null },
  { attempts: '3' },
  { attempts: 2.5 },
  { attempts: ' 0x2 ', lifo: 'yes' },
  { attempts: 3, lifo: 0 },
  { attempts: 2, lifo: '' },
  { attempts: 3, lifo: [] },
  { attempts: 3, backoff: null },
  { attempts: 3, backoff: '' },
  { attempts: 3, backoff: -1 },
  { attempts: 3, backoff: { type: 'exponential', delay: '-1', jitter: null } },
  { attempts: 3, backoff: { type: ['fixed'], delay: null } },
  { attempts: 3, backoff: { type: 'fixed' } },
  { attempts: 3, stackTraceLimit: null },
  { attempts: 3, stackTraceLimit: '1' },
  { attempts: 3, stackTraceLimit: '0' },
  { attempts: 3, stackTraceLimit: true },
  { attempts: 3, stackTraceLimit: 2.5 },
  { attempts: 3, stackTraceLimit: -1 },
  { keepLogs: '2' },
  { keepLogs: [1] },
  { keepLogs: null },
  { removeOnComplete: null, removeOnFail: null },
  { removeOnComplete: '5', removeOnFail: '5' },
  { removeOnComplete: '', removeOnFail: 'false' },
  { removeOnComplete: [], removeOnFail: [0] },
  { removeOnComplete: -0.5, removeOnFail: -0.5 },
  { removeOnFail: {} },
  { removeOnComplete: { age: '3600' }, removeOnFail: { age: ' 3600 ', count: null, limit: false } },
  { removeOnComplete: { age: 3600, limit: -1 }, removeOnFail: { age: '0xfff', limit: 0 } },
  { sizeLimit: '100000' },
  { unknown: { deep: [1, null], no: null, empty: [] } },
];

/**
 * The same where jobs may wait for a time, and of jobs that are not added by a guest. Left out are fractions of a
 * millisecond, which Toril cuts off.
 */
const oddTimes = [
  { attempts: 3, backoff: { type: 'fixed', delay: '5' } },
  { attempts: 3, backoff: { type: 'fixed', delay: '0' } },
  { attempts: 3, backoff: { type: 'fixed', delay: 2, jitter: 'x' } },
  { attempts: 3, backoff: { type: ['exponential'], delay: '3', jitter: '0' } },
  { delay: '30' },
  { delay: -5 },
  { delay: null, priority: '' },
  { priority: -1, attempts: 2 },
  { priority: false, jobId: '', deduplication: null },
];

const randomBackoff = (roll) => roll.one(
  0,
  5 + roll.below(20),
  { type: 'fixed', delay: 5 + roll.below(20) },
  { type: 'exponential', delay: 4 + roll.below(8) },
);

function randomValue(roll) {
  return roll.one(null, 0, roll.below(1000) / 8, -1, 'text ✓ "quoted" \n', '', [], {}, { deep: [{ a: null }] }, true, [1, 'two']);
}

/** What a job does at each start; the last step ends it. */
function randomPlan(context, depth = 0) {
  const { roll } = context;
  const steps = Array.from({ length: roll.below(4) }, () => randomStep(context, depth));
  steps.push({ ...part(context), ...roll.one(...ends(context)) });
  return steps;
}

const ends = ({ roll }) => [
  { do: 'return', value: randomValue(roll) },
  { do: 'return', value: randomValue(roll) },
  { do: 'throw', message: roll.one('on purpose', '', 'ünï ✓', 'two\nlines') },
  { do: 'unrecoverable', message: 'for good' },
];

function randomStep(context, depth) {
  const { roll, ordered } = context;
  const kinds = ['throw', 'throw', 'wait'];
  if (!ordered) kinds.push('delay', 'delay', 'limit');
  if (depth === 0 && roll.chance(0.3)) kinds.push('children');
  const kind = roll.one(...kinds);
  const step = { ...part(context), do: kind };
  if (kind === 'throw') step.message = `attempt failed ${roll.below(3)}`;
  if (kind === 'delay') step.ms = roll.one(0, 1, roll.below(30));
  if (kind === 'limit') step.ms = 1 + roll.below(10);
  if (kind === 'children') step.children = Array.from({ length: 1 + roll.below(2) }, () => randomChild(context));
  return step;
}

function part({ roll, concurrency }) {
  const step = {};
  // One at a time, no two jobs end in the same millisecond.
  if (concurrency === 1) step.sleep = 2;
  else if (roll.chance(0.3)) step.sleep = roll.below(6);
  if (roll.chance(0.15)) step.logs = roll.below(4);
  if (roll.chance(0.1)) step.progress = roll.one(1, 50, { done: 3 }, 'half');
  if (roll.chance(0.1)) step.note = roll.below(10);
  return step;
}

const policies = ['failParentOnFailure', 'ignoreDependencyOnFailure', 'removeDependencyOnFailure', 'continueParentOnFailure'];

function randomPolicy({ roll, ordered, failsUnrun }) {
  if (roll.chance(0.25)) return {};
  // Which siblings have ended when a child fails or frees its parent is known only where the order is.
  const usable = ordered ? policies.slice(failsUnrun ? 0 : 1) : policies.slice(1, 3);
  return { [roll.one(...usable)]: true };
}

function randomChild(context) {
  const { jobId: _, deduplication: __, ...opts } = randomOptions(context, 0);
  // In a crowd a child must not end before its parent waits for it, however busy the machine is.
  if (context.concurrency > 1) opts.delay = 2000;
  if (context.roll.chance(0.3)) Object.assign(opts, context.roll.one(...oddOptions));
  return { data: { plan: randomPlan(context, 1) }, opts: { ...opts, ...randomPolicy(context) } };
}

function single(context, n) {
  const { roll } = context;
  const opts = randomOptions(context, n);
  const odd = context.ordered ? oddOptions : [...oddOptions, ...oddTimes];
  if (roll.chance(0.3)) Object.assign(opts, roll.one(...odd));
  if (roll.chance(0.15)) {
    const id = `once-${roll.below(4)}`;
    opts.deduplication = roll.one({ id }, { id, ttl: 60_000 }, { id, ttl: 60_000, extend: true, replace: true });
  }
  return { job: { name: 'plan', data: { n, plan: randomPlan(context) }, opts } };
}

/** A tree of two or three levels. */
function family(context, n, depth = 0) {
  const { roll } = context;
  const node = (id, level) => {
    const { jobId: _, ...opts } = randomOptions(context, n);
    const children = level < 2 && (level === 0 || roll.chance(0.2))
      ? Array.from({ length: 1 + roll.below(3) }, (_, at) => node(`${id}-${at}`, level + 1))
      : [];
    // A child that is removed as failed, without a policy, frees its parent at once, and any other one after the parent's
    // delay: which of several children ends last is known only where the order is.
    const usual = ({ opts }) => policies.some((policy) => opts[policy]);
    if (children.length > 1 && !children.every(usual)) delete opts.delay;
    const policy = level > 0 ? randomPolicy(context) : {};
    return { name: 'plan', data: { n, plan: randomPlan(context, 1) }, opts: { ...opts, ...policy, jobId: id }, children };
  };
  return { flow: node(`family-${n}`, depth) };
}
