// Ways to fail, by the name of the job. Node's worker runs this file, too: reasons and source lines must be the same.
import { DelayedError, type Job, UnrecoverableError } from 'bullmq';
// @ts-expect-error: a package of the test's.
import { Mixer, mix, mixLater } from 'paint';

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

class Painter {
  #paint = undefined as unknown as { color: string };

  get color() {
    return this.#paint.color;
  }

  toJSON() {
    throw new Error('cannot be stored');
  }

  static async open(color: string) {
    await tick();
    return new this(color).start();
  }

  constructor(color = nameOf(undefined)) {
    if (color === 'black') throw new RangeError('no black');
  }

  async start(): Promise<never> {
    await tick();
    throw new OutOfPaint('white');
  }
}

function nameOf(color?: string) {
  return color!.toUpperCase();
}

const tick = () => new Promise<void>((resolve) => setTimeout(resolve, 1));

async function dry(wall: string) {
  await tick();
  if (wall === 'wet') {
    throw new Error(`${wall} for ever`);
  }
  return wall;
}

async function paintAll(walls: string[]) {
  const painted: string[] = [];
  for (const wall of walls) {
    const done =
      await dry(
        wall,
      );
    painted.push(done);
  }
  return painted;
}

async function* drying(walls: string[]) {
  for (const wall of walls) {
    yield await dry(wall);
  }
}

/** An iterator that fails when it goes on. */
function* running() {
  yield 1;
  throw new Error('run out');
}

export const kinds: Record<string, (job: Job, token?: string) => unknown> = {
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
  'a page as JSON': () => JSON.parse('<!DOCTYPE html><html><body>not found</body></html>'),
  'words as JSON': () => JSON.parse('not json at all'),
  'an object as JSON': () => JSON.parse({} as unknown as string),
  'nothing as JSON': () => JSON.parse(undefined as unknown as string),
  'JSON with a wrong word in it': () => JSON.parse('{"walls":["white","grün","blue"],"done":nope,"by":"Ann"}'),
  'JSON with a wrong end': () => JSON.parse('{"walls":["white","green","blue"],"done":nul'),
  'symbol as a text': () => String(Symbol('red')) + `${Symbol('red') as unknown as string}`,
  'sum of nothing': () => ([] as number[]).reduce((sum, n) => sum + n),
  'repeated too seldom': () => 'red'.repeat(-1),
  'broken escape': () => decodeURIComponent('%'),
  'too many digits': () => (1.5).toFixed(101),
  'object that is closed': () => Object.defineProperty(Object.freeze({}), 'color', { value: 'red' }),
  'key that is no object': () => new WeakMap().set('red' as unknown as object, 1),
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

/** In functions that wait for each other, and in those that others call. */
const places: typeof kinds = {
  'two pauses deep': async () => {
    const walls = await paintAll(['dry', 'wet']);
    return walls.length;
  },
  'rejected by a timer': async () => {
    await new Promise((_, reject) =>
      setTimeout(() => {
        reject(new Error('too late'));
      }, 1),
    );
  },
  'one of all': async () => {
    await tick();
    await Promise.all([dry('dry'), paintAll(['wet'])]);
  },
  'one of any': async () => {
    try {
      await Promise.any([dry('wet')]);
    } catch (error) {
      throw (error as AggregateError).errors[0];
    }
  },
  'one of all settled': async () => {
    const [, second] = await Promise.allSettled([tick(), dry('wet')]);
    throw (second as PromiseRejectedResult).reason;
  },
  'race': async () => await Promise.race([dry('wet'), new Promise(() => setTimeout(() => {}, 50))]),
  'aggregate': () => {
    throw new AggregateError([new Error('one'), new Error('two')], 'both walls are wet');
  },
  'then': async () => {
    const wall = await tick()
      .then(() => dry('dry'))
      .then((name) => {
        throw new Error(`${name} once more`);
      });
    return wall;
  },
  'finally': async () => {
    try {
      await dry('wet');
    } finally {
      await tick();
    }
  },
  'returned without a pause': () => paintAll(['wet']),
  'generator': async () => {
    for await (const wall of drying(['dry', 'wet'])) {
      nameOf(wall);
    }
  },
  'iterator': () => {
    const all = [];
    for (const n of running()) {
      all.push(nameOf(String(n)));
    }
    return all;
  },
  'class': async () => {
    await Painter.open('red');
  },
  'constructor': () => new Painter('black'),
  'default of a parameter': () => new Painter(),
  'getter': () => {
    const painter = new Painter('red');
    return `${painter.color}`;
  },
  'callback': () => ['red', undefined].map((color) => nameOf(color)),
  'sorting': () =>
    [3, 1, 2].sort((a, b) => {
      if (a + b > 4) throw new Error(`too much: ${a + b}`);
      return a - b;
    }),
  'value that cannot be stored': () => new Painter('red'),
  'made before': async () => {
    const error = new Error('made early');
    await tick();
    throw error;
  },
  'thrown again': async () => {
    try {
      await paintAll(['wet']);
    } catch (error) {
      await tick();
      throw error;
    }
  },
  'package': () => mix(['red', undefined]),
  'package after a pause': async () => {
    await mixLater(['red', undefined]);
  },
  'callback of a package': async () => {
    await new Mixer().each(['red', 'wet'], (color: string) => dry(color));
  },
  'destructuring': () => {
    const { color } = undefined as unknown as { color: string };
    return color;
  },
  'numbers of two kinds': () => {
    const n = 1;
    const mixed = (
      1n as unknown as number
    ) + n;
    return mixed;
  },
  'set of undefined': () => {
    const wall = undefined as unknown as Wall;
    wall.paint = { color: 'red' };
  },
  'too early': () => {
    const color = nameOf('red') + later;
    let later = 'blue';
    return color + later;
  },
  'no iterable': () => {
    const walls = 5 as unknown as string[];
    const all: string[] = [];
    all.push(
      'red',
      ...walls,
    );
    return all;
  },
  'no class': () => {
    const Nothing = {} as unknown as typeof Painter;
    return new Nothing();
  },
  'function that is a field': () => {
    const wall = { paint: { color: 5 } } as any;
    wall.paint.color(
      nameOf('red'),
    );
  },
  'in': () => {
    const wall = 'red' as any;
    return 'color' in wall;
  },
  'proxy': () => {
    const wall: Wall = new Proxy(
      {},
      {
        get(_, name) {
          throw new Error(`no ${String(name)}`);
        },
      },
    );
    return wall.paint;
  },
  'template': () => {
    const wall = Object.create(null);
    return `a
      ${wall}`;
  },
  'reviver': () =>
    JSON.parse('{"color":"red"}', (_, value) => {
      if (value === 'red') throw new Error('no red');
      return value;
    }),
  'regular expression': () => new RegExp('('),
  'invalid date': () => new Date(NaN).toISOString(),
  'invalid length': () => new Array(-1),
  'URL': () => new URL('no url'),
  'delayed, then an error': async (job, token) => {
    if (job.attemptsStarted < 2) {
      await job.moveToDelayed(Date.now() + 1, token);
      throw new DelayedError();
    }
    throw new Error('not in time either');
  },
};
Object.assign(kinds, places);

export default async function (job: Job, token?: string) {
  const kind = kinds[job.name];
  if (!(job.name in places)) return kind(job);
  const value = await kind(job, token);
  return value;
}
