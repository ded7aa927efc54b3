// `process`, as packages for browsers expect it, and the environment that the operator granted.
import { host, phase } from '../host.js';
import { missing } from '../missing.js';

/** What the processor wrote itself; undefined stands for what it deleted. */
const written = new Map();
let granted;

/** Read when the first attempt asks: the machine that builds a processor has another environment. */
function environment() {
  if (phase.loading) return new Map();
  granted ??= new Map(host.environment());
  return granted;
}

const has = (name) => (written.has(name) ? written.get(name) !== undefined : environment().has(name));
const read = (name) => (written.has(name) ? written.get(name) : environment().get(name));

const env = new Proxy(Object.create(null), {
  get: (_, name) => (typeof name === 'string' ? read(name) : undefined),
  has: (_, name) => typeof name === 'string' && has(name),
  set(_, name, value) {
    written.set(name, String(value));
    return true;
  },
  deleteProperty(_, name) {
    written.set(name, undefined);
    return true;
  },
  ownKeys: () => [...new Set([...environment().keys(), ...written.keys()])].filter(has),
  getOwnPropertyDescriptor: (_, name) =>
    typeof name === 'string' && has(name)
      ? { value: read(name), writable: true, enumerable: true, configurable: true }
      : undefined,
  defineProperty(_, name, { value }) {
    written.set(name, String(value));
    return true;
  },
});

/** A stream that writes whole lines to the host's log. */
function output(level) {
  let rest = '';
  return {
    isTTY: false,
    writable: true,
    columns: 80,
    fd: level === 'info' ? 1 : 2,
    write(chunk, encoding, callback) {
      const lines = (rest + String(chunk)).split('\n');
      rest = lines.pop();
      for (const line of lines) host.logging.log(level, line);
      (typeof encoding === 'function' ? encoding : callback)?.();
      return true;
    },
    end() {},
    on() {
      return this;
    },
    once() {
      return this;
    },
    emit: () => false,
    removeListener() {
      return this;
    },
  };
}

const nanoseconds = () => BigInt(Math.round(host.monotonicMs() * 1e6));

function hrtime(since) {
  const now = nanoseconds() - (since ? BigInt(since[0]) * 1_000_000_000n + BigInt(since[1]) : 0n);
  return [Number(now / 1_000_000_000n), Number(now % 1_000_000_000n)];
}
hrtime.bigint = nanoseconds;

const stop = (name) => {
  throw missing(`process.${name}()`, 'return from the processor, or throw an error');
};
const self = () => process;

const process = {
  title: 'toril',
  browser: true,
  env,
  argv: ['toril'],
  execArgv: [],
  execPath: '/toril',
  pid: 1,
  ppid: 0,
  platform: 'linux',
  arch: 'wasm32',
  version: '',
  versions: {},
  release: {},
  config: {},
  features: {},
  exitCode: undefined,
  stdout: output('info'),
  stderr: output('error'),
  nextTick: (callback, ...args) => queueMicrotask(() => callback(...args)),
  hrtime,
  uptime: () => host.monotonicMs() / 1000,
  cwd: () => '/',
  chdir: () => stop('chdir'),
  umask: () => 0,
  exit: () => stop('exit'),
  abort: () => stop('abort'),
  kill: () => stop('kill'),
  memoryUsage: () => ({ rss: 0, heapTotal: 0, heapUsed: 0, external: 0, arrayBuffers: 0 }),
  cpuUsage: () => ({ user: 0, system: 0 }),
  emitWarning: (warning) => host.logging.log('warn', `${warning?.stack ?? warning}`),
  binding: (name) => stop(`binding('${name}')`),
  // Nobody sends signals, and an error that nobody catches ends the attempt.
  on: self,
  once: self,
  off: self,
  addListener: self,
  prependListener: self,
  removeListener: self,
  removeAllListeners: self,
  setMaxListeners: self,
  emit: () => false,
  listeners: () => [],
  listenerCount: () => 0,
};
process.memoryUsage.rss = () => 0;

globalThis.process = process;
export { process };
export default process;
