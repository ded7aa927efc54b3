// The part of Node's `util` that shows nothing: functions of callbacks, promises and classes.

const custom = Symbol.for('nodejs.util.promisify.custom');

export function promisify(original) {
  if (typeof original !== 'function') throw new TypeError('The "original" argument must be of type function');
  if (original[custom]) return original[custom];
  function promised(...args) {
    return new Promise((resolve, reject) => {
      original.call(this, ...args, (error, value) => (error ? reject(error) : resolve(value)));
    });
  }
  return Object.defineProperties(
    Object.setPrototypeOf(promised, Object.getPrototypeOf(original)),
    Object.getOwnPropertyDescriptors(original),
  );
}
promisify.custom = custom;

export function callbackify(original) {
  return function callbackified(...args) {
    const callback = args.pop();
    original.apply(this, args).then(
      (value) => queueMicrotask(() => callback(null, value)),
      (error) => queueMicrotask(() => callback(error ?? Object.assign(new Error('Promise was rejected with a falsy value'), { reason: error }))),
    );
  };
}

export function inherits(constructor, parent) {
  Object.defineProperty(constructor, 'super_', { value: parent, writable: true, configurable: true });
  Object.setPrototypeOf(constructor.prototype, parent.prototype);
}

const warned = new Set();
export function deprecate(original, message, code = message) {
  return function deprecated(...args) {
    if (!warned.has(code)) {
      warned.add(code);
      globalThis.process?.emitWarning(`DeprecationWarning: ${message}`);
    }
    return new.target ? Reflect.construct(original, args, new.target) : original.apply(this, args);
  };
}

export const debuglog = () => Object.assign(() => {}, { enabled: false });
export { debuglog as debug };
export const toUSVString = (text) => `${text}`.replace(/\p{Surrogate}/gu, '\ufffd');
export const aborted = (signal) =>
  new Promise((resolve) => (signal.aborted ? resolve() : signal.addEventListener('abort', () => resolve(), { once: true })));
export const { isArray } = Array;
export const getSystemErrorName = (code) => `E${code}`;
export const styleText = (_format, text) => text;
