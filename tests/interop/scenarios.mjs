// What both workers must do alike. One entry is one scenario: jobs are added while no worker runs, then
// a worker runs until `settled`, and what is left in Redis must be the same for Node's and for ours.
//
// The processor is `tests/fixtures/scenarios`; its twin in JavaScript is in `twin.mjs`. Options of the worker are
// given as Node takes them (`node`) and as toril.toml does (`toril`).
//
// `crowd` says what is compared where many copies run at once (crowd.test.mjs): `states` where which jobs are kept,
// whether one is due at once, or which children have ended when one of them frees its parent, depends on the moment;
// `origin` where the number of a job does. `alone` is left out: the children that its job adds may end before it waits
// for them.
import { eventually } from './harness.mjs';

export const QUEUE = 'oracle';

const add = (name, opts, data = { a: 1 }) => ({ queue }) => queue.add(name, data, opts);
const addAll = (...jobs) => ({ queue }) => queue.addBulk(jobs.map(([name, opts, data = {}]) => ({ name, data, opts })));
const numbered = (count, name, opts) => Array.from({ length: count }, (_, n) => [name, opts, { n }]);
const flow = (parent, ...children) => family('return', parent, ...children);
const family = (name, parent, ...children) => ({ flow }) =>
  flow.add({
    name,
    queueName: QUEUE,
    data: { parent: true },
    opts: { jobId: 'parent', ...parent },
    children: children.map(([name, opts], n) => ({
      name,
      queueName: QUEUE,
      data: { n },
      opts: { jobId: `child-${n}`, ...opts },
    })),
  });

export const scenarios = [
  { name: 'completes with a value', add: add('return') },
  { name: 'completes with null', add: add('nothing') },
  { name: 'completes jobs in order', add: addAll(...numbered(20, 'return')) },
  { name: 'completes with text beyond ASCII', add: add('return', {}, { text: 'ünï ✓ "quoted" \n' }) },
  { name: 'fails without attempts', add: add('fail') },
  { name: 'fails after its attempts', add: add('fail', { attempts: 3 }) },
  { name: 'fails after its attempts with fixed backoff', add: add('fail', { attempts: 3, backoff: 20 }) },
  {
    name: 'fails after its attempts with exponential backoff',
    add: add('fail', { attempts: 3, backoff: { type: 'exponential', delay: 10 } }),
  },
  { name: 'retries at once and recovers', add: add('fail-once', { attempts: 2 }) },
  { name: 'retries a lifo job at the head', add: addAll(['fail-once', { attempts: 2, lifo: true }], ['return', {}]) },
  {
    name: 'retries a prioritized job by its priority',
    add: addAll(['fail-once', { attempts: 2, priority: 3 }], ['return', { priority: 3 }]),
  },
  { name: 'fails for good in spite of attempts', add: add('unrecoverable', { attempts: 5 }) },
  { name: 'limits stack traces', add: add('fail', { attempts: 4, stackTraceLimit: 2 }) },
  { name: 'keeps no stack trace', add: add('fail', { stackTraceLimit: 0 }) },
  { name: 'stores progress', add: add('progress') },
  { name: 'stores logs', add: add('log') },
  { name: 'keeps the newest logs', add: add('log', { keepLogs: 2 }) },
  { name: 'updates data', add: add('update-data') },
  { name: 'resumes at the stored step', add: add('step-and-fail', { attempts: 2 }) },
  { name: 'delays itself', add: add('delay-once') },
  { name: 'delays itself after it updated its data', add: add('update-then-delay') },
  {
    name: 'limits the rate of the queue',
    node: { limiter: { max: 1000, duration: 1000 } },
    toril: { limiter: { max: 1000, duration_ms: 1000 } },
    add: addAll(['limit-once', {}], ['return', {}]),
    // The limiter's own count runs out by itself, some time later.
    ignore: ['limiter'],
  },
  {
    name: 'cannot wait for a child that failed it',
    node: { concurrency: 2 },
    toril: { concurrency: 2 },
    add: add('wait-for-failed-child', { attempts: 3 }),
  },
  { name: 'gives itself back', add: addAll(['wait-once', {}], ['return', {}]) },
  { name: 'gives itself back with a priority', add: addAll(['wait-once', { priority: 2 }], ['return', { priority: 2 }]) },
  { name: 'does not wait for children it has not', add: add('wait-for-children') },
  { name: 'promotes a delayed job', add: add('return', { delay: 40 }) },
  { name: 'orders delayed jobs by time', add: addAll(['return', { delay: 1500 }], ['return', { delay: 300 }]) },
  {
    name: 'orders by priority, then by time',
    add: addAll(...[5, 1, 3, 1, 2].map((priority, n) => ['return', { priority }, { n }]), ['return', {}, { n: 'first' }]),
  },
  { name: 'orders lifo jobs', add: addAll(...numbered(4, 'return', { lifo: true }), ['return', {}]) },
  { name: 'shows the fields of a job', add: add('fields', { priority: 7, attempts: 2 }) },
  { name: 'removes a completed job', add: add('return', { removeOnComplete: true }) },
  { name: 'removes a failed job', add: add('fail', { removeOnFail: true }) },
  { name: 'keeps the newest completed jobs', crowd: 'states', add: addAll(...numbered(7, 'return', { removeOnComplete: 3 })) },
  { name: 'keeps the newest failed jobs', crowd: 'states', add: addAll(...numbered(7, 'fail', { removeOnFail: { count: 2 } })) },
  { name: 'keeps completed jobs by age', crowd: 'states', add: addAll(...numbered(5, 'return', { removeOnComplete: { age: 3600, count: 4 } })) },
  {
    name: 'keeps jobs as the worker says',
    crowd: 'states',
    node: { removeOnComplete: { count: 2 }, removeOnFail: { count: 0 } },
    toril: { remove_on_complete: { count: 2 }, remove_on_fail: { count: 0 } },
    add: addAll(...numbered(5, 'return'), ['fail', {}], ['fail', { removeOnFail: false }]),
  },
  {
    name: 'names the worker',
    node: { name: 'w1' },
    toril: { name: 'w1' },
    add: add('return'),
  },
  {
    name: 'collects metrics',
    node: { metrics: { maxDataPoints: 10 } },
    toril: { metrics_points: 10 },
    add: async (producers) => {
      // The first job of another minute notes how many the last one had.
      await eventually('a minute that is not about to end', () => Date.now() % 60_000 < 55_000);
      await addAll(...numbered(3, 'return'), ['fail', {}])(producers);
    },
  },
  {
    name: 'stops a job that started too often',
    node: { maxStartedAttempts: 1 },
    toril: { max_started_attempts: 1 },
    add: add('delay-once'),
  },
  {
    name: 'keeps an interval scheduler going to its limit',
    crowd: 'states',
    add: ({ queue }) =>
      queue.upsertJobScheduler('beat', { every: 300, limit: 3 }, { name: 'return', data: { a: 1 }, opts: { attempts: 2, keepLogs: 3 } }),
    settled: (counts) => counts.completed === 3 && idle(counts),
  },
  {
    name: 'keeps a cron scheduler going to its limit',
    crowd: 'states',
    add: async ({ queue }) => {
      // A job that is due within the millisecond is not delayed.
      await eventually('a second that is not about to end', () => Date.now() % 1000 < 800);
      await queue.upsertJobScheduler('cron', { pattern: '* * * * * *', tz: 'Asia/Tokyo', limit: 2 }, { name: 'return', opts: { priority: 3 } });
    },
    settled: (counts) => counts.completed === 2 && idle(counts),
  },
  {
    name: 'keeps a scheduler going whose jobs fail',
    crowd: 'states',
    add: ({ queue }) => queue.upsertJobScheduler('beat', { every: 500, limit: 2 }, { name: 'fail', opts: { attempts: 2 } }),
    settled: (counts) => counts.failed === 2 && idle(counts),
  },
  {
    name: 'ends with a scheduler that was removed',
    add: async ({ queue }) => {
      await queue.upsertJobScheduler('beat', { every: 30 }, { name: 'return' });
      await queue.removeJobScheduler('beat');
    },
  },
  {
    name: 'brings in the job that was kept while another was active',
    crowd: 'origin',
    add: ({ queue }) => queue.add('add-its-successor', { deduplication: 'one' }, { deduplication: { id: 'one', keepLastIfActive: true } }),
    settled: (counts) => counts.completed === 2 && idle(counts),
  },
  { name: 'frees a deduplication id', add: add('return', { deduplication: { id: 'once' } }) },
  { name: 'leaves a deduplication id to its time to live', add: add('return', { deduplication: { id: 'once', ttl: 60_000 } }) },
  { name: 'gives values to the parent', add: flow({}, ['return', {}], ['nothing', {}]) },
  { name: 'gives a parent back to its priority', add: flow({ priority: 4 }, ['return', {}]) },
  { name: 'delays a parent after its children', add: flow({ delay: 30 }, ['return', {}]) },
  { name: 'fails the parent', add: flow({}, ['fail', { failParentOnFailure: true }], ['return', {}]) },
  { name: 'ignores a failed child', add: flow({}, ['fail', { ignoreDependencyOnFailure: true }], ['return', {}]) },
  { name: 'drops a failed child', add: flow({}, ['fail', { removeDependencyOnFailure: true }], ['return', {}]) },
  { name: 'continues the parent', add: flow({}, ['fail', { continueParentOnFailure: true }]) },
  {
    name: 'leaves the parent of a failed child waiting',
    add: flow({}, ['fail', {}], ['return', {}]),
    settled: (counts) => counts['waiting-children'] === 1 && counts.failed === 1 && counts.completed === 1,
  },
  { name: 'frees the parent of a removed child', add: flow({}, ['fail', { removeOnFail: true }]) },
  { name: 'reads the values of its children', add: family('children-values', {}, ['return', {}], ['nothing', {}]) },
  { name: 'reads no failures where there are none', add: family('failed-children-values', {}, ['return', {}]) },
  {
    name: 'reads the failures of its children',
    add: family('failed-children-values', {}, ['fail', { ignoreDependencyOnFailure: true }], ['return', {}]),
  },
  {
    name: 'reads its children by kind',
    crowd: 'states',
    add: family(
      'dependencies',
      {},
      ['return', { priority: 1 }],
      ['return', { delay: 3_600_000 }],
      ['fail', { priority: 2, continueParentOnFailure: true }],
    ),
    settled: (counts) => counts.completed + counts.failed === 3,
  },
  {
    name: 'removes the children that have not begun',
    crowd: 'states',
    add: family(
      'clean-up',
      {},
      ['return', { priority: 1 }],
      ['fail', { priority: 2, continueParentOnFailure: true }],
      ['return', { delay: 3_600_000 }],
      ['return', { delay: 3_600_000, priority: 3 }],
    ),
  },
  { name: 'leaves its parent', add: family('children-values', {}, ['leave-the-parent', {}], ['return', {}]) },
  { name: 'has no parent to leave', add: add('leave-the-parent') },
  { name: 'adds children and waits for them', crowd: 'alone', add: add('add-children') },
  { name: 'waits for one child', crowd: 'alone', add: add('wait-for-one-child') },
  { name: 'returns while a child is pending', add: add('return-with-pending-child') },
  { name: 'adds a flow below itself', crowd: 'alone', add: add('add-flow') },
  {
    name: 'fails the grandparent, too',
    add: ({ flow }) =>
      flow.add({
        name: 'return',
        queueName: QUEUE,
        opts: { jobId: 'grandparent' },
        children: [
          {
            name: 'return',
            queueName: QUEUE,
            opts: { jobId: 'parent', failParentOnFailure: true },
            children: [{ name: 'fail', queueName: QUEUE, opts: { jobId: 'child', failParentOnFailure: true } }],
          },
        ],
      }),
  },
  {
    name: 'runs a serial chain from its end',
    add: ({ flow }) => {
      const node = (name, step, children) => ({ name, queueName: QUEUE, data: { step }, opts: { jobId: step }, children });
      const chain = ['engine', 'wheels', 'chassis'].reduceRight(
        (child, step) => node('return', step, child && [child]),
        undefined,
      );
      return flow.add(chain);
    },
  },
];

/** Nothing is left to do. */
export const idle = (counts) =>
  ['waiting', 'active', 'delayed', 'prioritized', 'waiting-children'].every((state) => !counts[state]);
