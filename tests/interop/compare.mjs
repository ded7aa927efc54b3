// What must be equal although jobs ran side by side: what is left of each job, and what listeners were told of it in
// what order. Which of two jobs came first is nobody's promise.

const listsOfJobs = ['wait', 'paused', 'active'];

/** A snapshot of jobs that ran one by one. What one script emits for several jobs, it emits in no order of meaning. */
export function inOrder(left) {
  const { events = [], ...keys } = readable(left);
  return { ...keys, events: byJob(events) };
}

/** A snapshot in which JSON that processors wrote is read: the order of names is that of their language. */
function readable(left) {
  return Object.fromEntries(Object.entries(left).flatMap(([key, value]) => {
    // What fell into which minute, and whether a limit has run out, depends on the moment.
    if (/^metrics:.*:data$/.test(key) || key === 'limiter') return [];
    if (key.startsWith('metrics:')) return [[key, { count: value.count }]];
    return [[key, value.data ? { ...value, data: parsed(value.data) } : value]];
  }));
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** A snapshot without the order between jobs. */
export function withoutOrder(left) {
  const { events = [], ...keys } = readable(left);
  for (const name of listsOfJobs) keys[name]?.sort();
  for (const [name, value] of Object.entries(keys)) {
    // Scores count up in the order of adding; what they stand for is in the job's hash.
    if (name === 'prioritized' || name === 'delayed') keys[name] = value.map(([id]) => id).sort();
  }
  return { ...keys, events: byJob(events) };
}

/** Events of each job in their order; the queue's own once each, since how often it runs dry is chance. */
export function byJob(events) {
  const jobs = {};
  const queue = new Set();
  for (const { jobId, ...event } of events) {
    if (jobId === undefined) queue.add(event.event);
    else (jobs[jobId] ??= []).push(event);
  }
  const sorted = Object.entries(jobs).sort(([a], [b]) => (a < b ? -1 : 1));
  return { jobs: Object.fromEntries(sorted), queue: [...queue].sort() };
}

/**
 * The same without the names of jobs, for jobs that are added while others run: which of them got which number is
 * chance. Of each kind of key, and of each sequence of events, how many there are.
 */
export function byOrigin({ events, ...keys }) {
  const count = (values) => {
    const counts = {};
    for (const value of values) {
      const text = JSON.stringify(value, sorted);
      counts[text] = (counts[text] ?? 0) + 1;
    }
    return counts;
  };
  const anonymous = (value) => JSON.parse(JSON.stringify(value).replaceAll(/(?<=["\\:-])\d+(?=["\\:-])/g, 'N'));
  return {
    keys: count(Object.entries(keys).map(([key, value]) => [key.replace(/^\d+/, 'N'), anonymous(value)])),
    jobs: count(Object.values(events.jobs).map(anonymous)),
    queue: events.queue,
  };
}

/** For `JSON.stringify`: names in one order. */
function sorted(_, value) {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** How many jobs are in each state. */
export const states = (left) =>
  Object.fromEntries(
    ['wait', 'active', 'delayed', 'prioritized', 'waiting-children', 'completed', 'failed'].map((name) => [name, left[name]?.length ?? 0]),
  );

/**
 * How many finished jobs the rules leave, when the jobs end one by one in the order that listeners saw. `rules` gives
 * the count that a job's rule keeps, by id and outcome.
 */
export function keptByRules(events, rules) {
  const kept = { completed: 0, failed: 0 };
  for (const { event, jobId } of events) {
    if (event !== 'completed' && event !== 'failed') continue;
    const rule = rules(jobId, event);
    // A job that is not kept at all takes no other along.
    if (rule > 0) kept[event] = Math.min(kept[event] + 1, rule);
  }
  return kept;
}
