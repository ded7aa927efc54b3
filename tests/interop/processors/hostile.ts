// What a processor must not get away with, by the name of the job.
import { Queue, type Job } from 'bullmq';

const kinds: Record<string, (job: Job) => unknown> = {
  'loop': () => {
    for (;;);
  },
  'loop after a pause': async () => {
    await Promise.resolve();
    for (;;);
  },
  'regular expression': () => /^(a+)+$/.test(`${'a'.repeat(60)}b`),
  'microtasks for ever': () => {
    const again = () => queueMicrotask(again);
    again();
    return new Promise(() => {});
  },
  'recursion': () => {
    const deeper = (n: number): number => 1 + deeper(n + 1);
    return deeper(0);
  },
  'memory': () => {
    const all: unknown[] = [];
    for (;;) all.push(new Array(10_000).fill(all.length));
  },
  'buffers': () => {
    const all: Uint8Array[] = [];
    for (;;) all.push(new Uint8Array(1 << 20).fill(1));
  },
  'never settles': () => new Promise(() => {}),
  'sleeps': (job) => new Promise((resolve) => setTimeout(resolve, job.data)),
  'rejection that nobody handles': async () => {
    void Promise.reject(new Error('nobody looked'));
    await new Promise((resolve) => setTimeout(resolve, 5));
    return 'done';
  },
  'error in a timer': async () => {
    setTimeout(() => {
      throw new Error('in a timer');
    }, 1);
    await new Promise((resolve) => setTimeout(resolve, 20));
    return 'done';
  },
  'half of a character in a rejection': async () => {
    void Promise.reject(new Error('nobody looked at \ud800'));
    await new Promise((resolve) => setTimeout(resolve, 5));
  },
  'half of a character in a timer': async () => {
    setTimeout(() => {
      throw new Error('in a timer \ud800');
    }, 1);
    await new Promise((resolve) => setTimeout(resolve, 20));
  },
  'half of a character in a step': (job: any) =>
    job.step('odd', () => {
      throw new Error('in a step \ud800');
    }),
  'JSON of many levels': () => JSON.parse('['.repeat(50_000) + ']'.repeat(50_000)),
  'value of many levels': () => {
    let value: unknown[] = [];
    for (let level = 0; level < 50_000; level += 1) value = [value];
    return value;
  },
  'huge value': () => 'x'.repeat(9 << 20),
  'other queue': () => new Queue('vault').add('job', {}),
  'request': () => fetch('http://127.0.0.1:1/'),
  'environment': () => ({ ...process.env }),
  'ends the process': () => process.exit(3),
  'leaves its mark': () => {
    const marks = globalThis as { mark?: number };
    marks.mark = (marks.mark ?? 0) + 1;
    return marks.mark;
  },
  'identity': () => [Math.random(), crypto.randomUUID(), crypto.getRandomValues(new Uint8Array(16)).join()],
  'wait until cancelled': () => {},
};

export default async (job: Job, token?: string, signal?: AbortSignal) => {
  if (job.name !== 'wait until cancelled') return kinds[job.name](job);
  await new Promise((_, reject) => signal!.addEventListener('abort', () => reject(signal!.reason)));
};
