// `console`: each call is a line of the host's log.
import { host } from '../host.js';
import { format, inspect } from '../inspect.js';
import { withSources } from '../stacks.js';

let indent = '';
const counts = new Map();
const timers = new Map();

/** As `util.format`; texts alone, which most lines are, need none of it. */
function text(args) {
  const line = args.length === 1 && typeof args[0] === 'string' ? args[0] : format(...args);
  return indent ? line.replace(/^/gm, indent) : line;
}

const write = (level, args) => host.logging.log(level, withSources(text(args)));
const at =
  (level) =>
  (...args) =>
    write(level, args);

/** Times are shown as Node shows them. */
function elapsed(since) {
  const ms = host.monotonicMs() - since;
  return ms < 1000 ? `${Number(ms.toFixed(3))}ms` : `${(ms / 1000).toFixed(3)}s`;
}

function ended(label, ...rest) {
  const since = timers.get(`${label}`);
  if (since === undefined) return write('warn', [`Warning: No such label '${label}' for console.timeEnd()`]);
  return write('info', [`${label}: ${elapsed(since)}`, ...rest]);
}

const console = {
  log: at('info'),
  info: at('info'),
  debug: at('debug'),
  warn: at('warn'),
  error: at('error'),
  dirxml: at('info'),
  table: at('info'),
  trace(...args) {
    const stack = new Error().stack ?? '';
    write('error', [`Trace: ${text(args)}\n${stack}`]);
  },
  dir: (value, options) => write('info', [inspect(value, { customInspect: false, ...options })]),
  assert(holds, ...args) {
    if (holds) return;
    const [first, ...rest] = args;
    if (typeof first === 'string') write('error', [`Assertion failed: ${first}`, ...rest]);
    else write('error', [args.length ? 'Assertion failed:' : 'Assertion failed', ...args]);
  },
  count(label = 'default') {
    const count = (counts.get(`${label}`) ?? 0) + 1;
    counts.set(`${label}`, count);
    write('info', [`${label}: ${count}`]);
  },
  countReset: (label = 'default') => void counts.delete(`${label}`),
  group(...args) {
    if (args.length) write('info', args);
    indent += '  ';
  },
  groupEnd() {
    indent = indent.slice(2);
  },
  time: (label = 'default') => void timers.set(`${label}`, host.monotonicMs()),
  timeLog: (label = 'default', ...rest) => ended(label, ...rest),
  timeEnd(label = 'default') {
    ended(label);
    timers.delete(`${label}`);
  },
  timeStamp() {},
  profile() {},
  profileEnd() {},
  clear() {},
};
console.groupCollapsed = console.group;
console.Console = class Console {
  constructor() {
    return console;
  }
};

globalThis.console = console;
export { console };
export default console;
