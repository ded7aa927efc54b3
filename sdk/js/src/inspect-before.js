// Globals that `node-inspect-extracted` looks at while it is loaded, and that the engine has not; inspect.js takes them
// away again.

const NEEDED = { Atomics: {}, FinalizationRegistry: class {}, WeakRef: class {}, escape: (text) => text, unescape: (text) => text };

export const lent = Object.keys(NEEDED).filter((name) => !(name in globalThis));
for (const name of lent) {
  Object.defineProperty(globalThis, name, { value: NEEDED[name], writable: true, configurable: true });
}
