// Node's `setImmediate`: a timer that is due at once.
const setImmediate = (callback, ...args) => setTimeout(callback, 0, ...args);
const clearImmediate = (id) => clearTimeout(id);

Object.assign(globalThis, { setImmediate, clearImmediate });
export { setImmediate, clearImmediate };
