// What the tests of processors in TypeScript share: a project of a user's, a host that serves a file of it, and jobs that fail.
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { tmpdir } from 'node:os';
import { Queue, QueueEvents } from 'bullmq';
import { startToril, WAIT_MS } from './harness.mjs';

export const SDK = resolve(import.meta.dirname, '../../sdk/js');
export const source = (name) => join(import.meta.dirname, 'processors', name);

/** A project of a user's, with these files. */
export async function project(t, files = {}) {
  const dir = await mkdtemp(join(tmpdir(), 'toril-typescript-'));
  t.after(() => rm(dir, { recursive: true }));
  for (const [name, text] of Object.entries({ 'package.json': '{}', ...files })) {
    await mkdir(dirname(join(dir, name)), { recursive: true });
    await writeFile(join(dir, name), text);
  }
  return dir;
}

/** Serves a file on the queue `ring` while `body` runs. */
export async function served(redis, file, options, body) {
  const host = await startToril(redis, { ring: { processor: file, concurrency: 1, ...options } });
  const queue = new Queue('ring', { connection: redis.connection });
  const events = new QueueEvents('ring', { connection: redis.connection, lastEventId: '0' });
  try {
    await events.waitUntilReady();
    return await body({ queue, host, finished: (job, ms = WAIT_MS) => job.waitUntilFinished(events, ms) });
  } catch (error) {
    error.message += `\nlog of the host:\n${host.log()}`;
    throw error;
  } finally {
    await Promise.all([host.stop(), events.close(), queue.close()]);
  }
}

/** Adds a job that fails, and returns what is stored of it. */
export async function failure({ queue, finished }, name, data = {}, opts = {}) {
  const job = await queue.add(name, data, opts);
  await assert.rejects(finished(job), undefined, name);
  return queue.getJob(job.id);
}
