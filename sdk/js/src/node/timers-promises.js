// Node's `timers/promises`.

/** A timer as a promise, which a signal rejects. */
export const setTimeout = (ms, value, { signal } = {}) =>
  new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const stop = () => {
      globalThis.clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = globalThis.setTimeout(() => {
      signal?.removeEventListener('abort', stop);
      resolve(value);
    }, ms);
    signal?.addEventListener('abort', stop, { once: true });
  });
export const setImmediate = (value, options) => setTimeout(0, value, options);
export async function* setInterval(ms, value, options) {
  for (;;) yield await setTimeout(ms, value, options);
}
export const scheduler = { wait: (ms, options) => setTimeout(ms, undefined, options), yield: () => setImmediate() };
export default { scheduler, setImmediate, setInterval, setTimeout };
