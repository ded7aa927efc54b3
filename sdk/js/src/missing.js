// Methods of BullMQ that a processor cannot have: each throws, and says what to use instead.

/** An error that says so. */
export const missing = (what, instead) => new Error(`\`${what}\` is not available in a processor: ${instead}`);

/** Gives a class such methods: name and advice. `fails` says how a call fails. */
function define(prototype, className, methods, fails) {
  for (const [name, instead] of Object.entries(methods)) {
    const value = { [name]: () => fails(missing(`${className}.${name}`, instead)) }[name];
    Object.defineProperty(prototype, name, { value, writable: true, configurable: true });
  }
}

/** Methods that would return a promise: it is rejected. */
export const missingMethods = (prototype, className, methods) =>
  define(prototype, className, methods, (error) => Promise.reject(error));

/** Methods that would return something else. */
export const missingFunctions = (prototype, className, methods) =>
  define(prototype, className, methods, (error) => {
    throw error;
  });
