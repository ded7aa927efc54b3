// What the engine lends to the runtime. The processor cannot reach it: it is taken off the global object here, and this
// module is evaluated before any other.

/** The engine's functions; `process` and `warmup` are set on it. */
export const host = globalThis.__toril;
if (!host) throw new Error('this script runs in Toril only');
delete globalThis.__toril;

/** `loading` is true while the processor is built: calls to the host are not possible yet. */
export const phase = { loading: true };

/** Errors of the host that BullMQ has a class for; see errors.js. */
const classes = new Map();

/** Lets errors of the host with this code be thrown as `make(error)`. */
export function throwAs(code, make) {
  classes.set(code, make);
}

/** Calls the host; its errors are thrown as BullMQ's. */
export function ask(call) {
  try {
    return call();
  } catch (error) {
    const make = classes.get(error?.code);
    throw make ? make(error) : error;
  }
}
