// What BullMQ makes of options of any kind: prints a line of JSON for each of the option objects that a seed gives.
// `host/options/tests/bullmq.rs` asks the same of Toril. BullMQ's own classes answer, its scripts in a Redis of their own.
//
// Usage: node options.mjs SEED COUNT
import { Job, Queue } from 'bullmq';
import { startRedis } from './harness.mjs';
import { dice } from './random.mjs';

const NOW = 1_700_000_000_000;
/** How old the jobs are that ended before, in seconds. */
const AGES = [10, 20, 30, 40, 50];

// As text, since JSON has more numbers and strings than JavaScript writes.
const scalars = [
  'null', 'true', 'false', '0', '-0.0', '1', '2', '3', '4', '-1', '-2', '2.5', '0.5', '-0.5', '1e0', '25', '35', '1e999',
  '9007199254740993', '""', '" "', '"0"', '"1"', '"3"', '" 2 "', '"2.5"', '"-1"', '"0x3"', '"1e1"', '"25"', '"abc"', '"true"',
  '"Infinity"', '"\\ud800"', '"\\u0033"', '[]', '[0]', '[3]', '["2"]', '[[3]]', '[null]', '[1,2]', '[true]', '{}', '{"a":1}',
];
const types = ['"fixed"', '"fixed"', '"exponential"', '"exponential"', '["fixed"]', '"other"', '"toString"', 'null', '5'];
const jitters = ['0', '0.5', '1', '"0.5"', '-1', '2', 'null', '"x"', 'true', '[]'];
/** Not as text: BullMQ's script breaks on it halfway. */
const limits = scalars.filter((value) => !value.startsWith('"'));

function randomText(roll) {
  const { one, chance } = roll;
  const scalar = () => one(...scalars);
  const object = (fields) => `{${fields.filter(() => chance(0.6)).map(([name, value]) => `"${name}": ${value()}`).join(', ')}}`;
  const rule = () => object([['count', scalar], ['age', scalar], ['limit', () => one(...limits)]]);
  const backoff = () => object([['type', () => one(...types)], ['type', () => one(...types)], ['delay', scalar], ['jitter', () => one(...jitters)]]);
  const keep = () => (chance(0.5) ? scalar() : rule());
  return object([
    ['attempts', () => (chance(0.4) ? '9' : scalar())], ['backoff', () => (chance(0.2) ? scalar() : backoff())], ['lifo', scalar],
    ['removeOnComplete', keep], ['removeOnFail', keep], ['stackTraceLimit', scalar], [one('kl', 'keepLogs'), scalar],
    ['tm', scalar], [one('unknown', '\\ud800', 'attempts', 'lifo'), scalar],
  ]);
}

/** When a job that failed is tried again: `never`, `now`, or after so many ms; `broken` where BullMQ throws or its script would. */
async function retry(job, attemptsMade) {
  job.attemptsMade = attemptsMade - 1;
  const answer = await job.shouldRetryJob(new Error('failed')).catch(() => undefined);
  if (!answer) return 'broken';
  const [retries, delay] = answer;
  if (!retries) return 'never';
  if (!delay) return 'now';
  const sent = Number(String(delay));
  return Number.isNaN(sent) ? 'broken' : Math.min(Math.max(Math.trunc(sent), 0), Number.MAX_SAFE_INTEGER);
}

/** Which jobs are left when the job has ended: those of these ages, and the job itself, whose age is 0. */
async function kept(redis, queue, job, target, option) {
  const key = (name) => queue.toKey(name);
  const setUp = redis.multi().flushdb().hset(key('own'), 'name', 'n').rpush(key('active'), 'own').set(`${key('own')}:lock`, 't');
  for (const age of AGES) setUp.hset(key(age), 'name', 'n').zadd(key(target), NOW - age * 1000, age);
  await setUp.exec();
  const args = queue.backend.moveToFinishedArgs(job, '1', 'returnvalue', option, target, 't', NOW, false);
  await queue.backend.moveToFinished('own', args).catch(() => {});
  if (await redis.llen(key('active'))) return 'broken';
  const ids = ['own', ...AGES];
  const exist = await Promise.all(ids.map((id) => redis.exists(key(id))));
  return ids.filter((_, n) => exist[n]).map((id) => (id === 'own' ? 0 : id));
}

/** How many log lines are left after the sixth. */
async function logLines(redis, queue, keepLogs) {
  await redis.multi().flushdb().hset(queue.toKey('own'), 'name', 'n').rpush(`${queue.toKey('own')}:logs`, 1, 2, 3, 4, 5).exec();
  return queue.backend.addLog('own', '6', keepLogs).catch(() => 'broken');
}

async function answers(redis, queue, text) {
  const opts = queue.Job.optsFromJSON(text);
  const stacktrace = JSON.stringify(['1', '2', '3', '4']);
  const job = Job.fromJSON(queue, { name: 'n', data: '{}', opts, id: 'own', stacktrace });
  const retries = [];
  for (const made of [1, 2, 3, 4]) retries.push(await retry(job, made));
  job.updateStacktrace({ stack: '5' });
  return {
    text,
    retries,
    traces: job.stacktrace.length,
    lifo: queue.backend.retryJobArgs('own', job.opts.lifo, 't').includes('RPUSH'),
    logs: await logLines(redis, queue, job.opts.keepLogs),
    completed: await kept(redis, queue, job, 'completed', job.opts.removeOnComplete),
    failed: await kept(redis, queue, job, 'failed', job.opts.removeOnFail),
  };
}

const [seed, count] = process.argv.slice(2).map(Number);
const redis = await startRedis();
const queue = new Queue('options', { connection: redis.connection });
await queue.waitUntilReady();
Math.random = () => 0.5;
const roll = dice(seed);
for (let n = 0; n < count; n += 1) console.log(JSON.stringify(await answers(redis.client, queue, randomText(roll))));
await queue.close();
await redis.stop();
