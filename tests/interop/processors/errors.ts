// Ways to fail, by the name of the job. Node's worker runs this file, too: reasons and source lines must be the same.
import { type Job, UnrecoverableError } from 'bullmq';

class OutOfPaint extends Error {
  constructor(readonly color: string) {
    super(`no more ${color}`);
    this.name = 'OutOfPaint';
  }
}

interface Wall {
  paint?: { color: string };
}

function paint(wall: Wall): string {
  return wall.paint!.color.toUpperCase();
}

const tick = () => new Promise<void>((resolve) => setTimeout(resolve, 1));

const kinds: Record<string, (job: Job) => unknown> = {
  'error': () => {
    throw new Error('the roof is on fire');
  },
  'error of a class': () => {
    throw new OutOfPaint('red');
  },
  'error after a pause': async () => {
    await tick();
    throw new Error('later');
  },
  'property of undefined': () => paint({}),
  'not a function': () => (({}) as { paint(): void }).paint(),
  'unknown variable': () => (globalThis as any).nothing.like.this,
  'error with a cause': () => {
    try {
      return paint({});
    } catch (cause) {
      throw new Error('cannot paint', { cause });
    }
  },
  'text': () => {
    throw 'just a text';
  },
  'number': () => {
    throw 42;
  },
  'object': () => {
    throw { message: 'looks like an error' };
  },
  'undefined': () => {
    throw undefined;
  },
  'rejected text': () => Promise.reject('rejected with a text'),
  'rejected error': () => Promise.reject(new RangeError('rejected')),
  'one of several': () => Promise.all([tick(), Promise.reject(new Error('the second one')), tick()]),
  'none of several': () => Promise.any([Promise.reject(new Error('one')), Promise.reject(new Error('two'))]),
  'broken JSON': () => JSON.parse('{"a":'),
  'cyclic value': () => {
    const cyclic: { self?: unknown } = {};
    cyclic.self = cyclic;
    return cyclic;
  },
  'bigint': () => 1n,
  'unrecoverable': () => {
    throw new UnrecoverableError('for good');
  },
  'no text': () => {
    throw new Error();
  },
  'half of a character': () => {
    throw new Error('\ud800x');
  },
  'half of a character, for good': () => {
    throw new UnrecoverableError(`emoji ${'😀'.slice(0, 1)}`);
  },
  'half of a character in an object': () => {
    throw { message: '\ud800' };
  },
  'half of a character in a cause': () => {
    throw new Error('cannot paint', { cause: new Error('\ud800') });
  },
  'half of a character in a stack': () => {
    throw Object.assign(new UnrecoverableError('odd'), { stack: 'Error: \ud800' });
  },
  'stack that was dropped': () => {
    const error = new UnrecoverableError('without a stack');
    error.stack = undefined;
    throw error;
  },
  'stack that is a number': () => {
    throw Object.assign(new UnrecoverableError('odd stack'), { stack: 5 });
  },
};

export default async function (job: Job) {
  return kinds[job.name](job);
}
