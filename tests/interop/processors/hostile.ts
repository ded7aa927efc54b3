// What a processor must not get away with, by the name of the job.
import { DelayedError, FlowProducer, Queue, type Job } from 'bullmq';

const HOUR = 3_600_000;

const kinds: Record<string, (job: Job, token?: string) => unknown> = {
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
  'huge data': (job) => job.updateData('x'.repeat(job.data)),
  'huge reason': (job) => {
    throw new Error('ä'.repeat(job.data));
  },
  'huge stack': () => {
    throw Object.assign(new Error('with a huge stack'), { stack: `Error\n${'x'.repeat(9 << 20)}` });
  },
  'prints': () => {
    console.log('to the log\x1b[31m');
    return 'printed';
  },
  'floods the log': () => {
    for (let n = 0; n < 1_000_000; n += 1) console.log(`line ${n}`);
  },
  "floods the job's log": async (job) => {
    for (let n = 0; n < 1000; n += 1) await job.log('x'.repeat(10_000));
    return 'flooded';
  },
  "floods the job's log with nothing": async (job) => {
    for (;;) await job.log('');
  },
  'floods progress': async (job) => {
    for (let n = 0; n < 1_000_000; n += 1) await job.updateProgress(n);
  },
  'floods the host with calls': () => {
    for (;;) Date.now();
  },
  'floods the queue': async (job) => {
    const queue = new Queue(job.queueName);
    for (;;) await queue.add('fine', {}, { delay: HOUR });
  },
  'floods the queue at once': (job) => {
    const fine = { name: 'fine', data: {}, opts: { delay: HOUR } };
    return new Queue(job.queueName).addBulk(Array.from({ length: job.data }, () => fine));
  },
  'floods with a flow': (job) => {
    const fine = { name: 'fine', queueName: job.queueName };
    return new FlowProducer().add({ ...fine, children: Array.from({ length: job.data }, () => fine) });
  },
  'flow to another queue': (job) => {
    const children = [{ name: 'fine', queueName: 'vault' }];
    return new FlowProducer().add({ name: 'fine', queueName: job.queueName, children });
  },
  'many requests': async (job) => {
    const { url, count } = job.data;
    await Promise.all(Array.from({ length: count }, () => fetch(url)));
  },
  'many timers': async () => {
    await Promise.all(Array.from({ length: 20_000 }, (_, n) => new Promise((resolve) => setTimeout(resolve, n % 7))));
    return 'all rang';
  },
  'moves, then returns': async (job, token) => {
    await job.moveToDelayed(Date.now() + HOUR, token);
    return 'returned all the same';
  },
  'moves, then fails': async (job, token) => {
    await job.moveToDelayed(Date.now() + HOUR, token);
    throw new Error('failed all the same');
  },
  'moves twice': async (job, token) => {
    await job.moveToDelayed(Date.now() + HOUR, token);
    await job.moveToWait(token).catch((error: Error) => job.updateData({ error: error.message }));
    throw new DelayedError();
  },
  'does not move': () => {
    throw new DelayedError();
  },
  'is its own grandparent': async (job) => {
    const queue = new Queue(job.queueName);
    const parent = { id: job.id!, queue: job.queueQualifiedName };
    await queue.add('fine', {}, { parent, jobId: 'below', delay: HOUR });
    await queue.add('fine', {}, { parent: { ...parent, id: 'below' }, jobId: job.id });
    return 'became';
  },
  'message that throws': () => {
    throw Object.defineProperty(new Error(), 'message', {
      get() {
        throw new Error('no message');
      },
    });
  },
  'cause of itself': () => {
    const error = new Error('turns in a ring');
    error.cause = error;
    throw error;
  },
  'breaks JSON': () => {
    JSON.stringify = () => {
      throw new Error('no JSON');
    };
    return {};
  },
  'breaks promises': async () => {
    Promise.prototype.then = () => {
      throw new Error('no promises');
    };
    await null;
    return Promise.resolve(1).finally(() => 2);
  },
  'fine': () => 'fine',
  'leaves its mark': () => {
    const marks = globalThis as { mark?: number };
    marks.mark = (marks.mark ?? 0) + 1;
    return marks.mark;
  },
  'identity': () => [Math.random(), crypto.randomUUID(), crypto.getRandomValues(new Uint8Array(16)).join()],
  'wait until cancelled': () => {},
};

export default async (job: Job, token?: string, signal?: AbortSignal) => {
  if (job.name !== 'wait until cancelled') return kinds[job.name](job, token);
  await new Promise((_, reject) => signal!.addEventListener('abort', () => reject(signal!.reason)));
};
