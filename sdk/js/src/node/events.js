import '../globals/process.js';
import EventEmitter from 'events/';

const { defaultMaxListeners, once } = EventEmitter;
const listenerCount = (emitter, name) => emitter.listenerCount(name);
const getEventListeners = (emitter, name) => emitter.listeners?.(name) ?? [];
const setMaxListeners = (count, ...emitters) => emitters.forEach((emitter) => emitter.setMaxListeners?.(count));
const addAbortListener = (signal, listener) => {
  signal.addEventListener('abort', listener, { once: true });
  return { [Symbol.dispose ?? Symbol.for('dispose')]: () => signal.removeEventListener('abort', listener) };
};
const errorMonitor = Symbol('events.errorMonitor');
const captureRejectionSymbol = Symbol.for('nodejs.rejection');

/** An emitter's events as an asynchronous iterator. */
function on(emitter, name, { signal, close = [] } = {}) {
  const events = [];
  const waiting = [];
  let failed;
  let done = false;
  const settle = () => {
    while (waiting.length && events.length) waiting.shift().resolve({ value: events.shift(), done: false });
    if (failed) for (const { reject } of waiting.splice(0)) reject(failed);
    if (done) for (const { resolve } of waiting.splice(0)) resolve({ value: undefined, done: true });
  };
  const push = (...args) => settle(events.push(args));
  const fail = (error) => settle((failed = error));
  const end = () => settle((done = true));
  emitter.on(name, push);
  if (name !== 'error') emitter.on('error', fail);
  for (const ending of close) emitter.on(ending, end);
  signal?.addEventListener('abort', () => fail(signal.reason), { once: true });
  return {
    next: () =>
      new Promise((resolve, reject) => {
        waiting.push({ resolve, reject });
        settle();
      }),
    async return() {
      emitter.removeListener(name, push);
      emitter.removeListener('error', fail);
      end();
      return { value: undefined, done: true };
    },
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}

Object.assign(EventEmitter, {
  addAbortListener, captureRejectionSymbol, errorMonitor, EventEmitter, getEventListeners, listenerCount, on, setMaxListeners,
});
export {
  addAbortListener, captureRejectionSymbol, defaultMaxListeners, errorMonitor, EventEmitter, getEventListeners,
  listenerCount, on, once, setMaxListeners,
};
export default EventEmitter;
