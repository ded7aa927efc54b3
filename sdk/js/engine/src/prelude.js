// The timers of Node on top of the engine's: an object for each, which can be taken for a number.
(timers) => {
  const callbackOf = (callback, args) => {
    if (typeof callback !== "function") {
      throw new TypeError('The "callback" argument must be of type function.');
    }
    return args.length === 0 ? callback : () => callback(...args);
  };

  class Timeout {
    #id;
    #holds = true;
    constructor(id) {
      this.#id = id;
    }
    ref() {
      this.#holds = true;
      timers.hold(this.#id, true);
      return this;
    }
    unref() {
      this.#holds = false;
      timers.hold(this.#id, false);
      return this;
    }
    hasRef() {
      return this.#holds;
    }
    refresh() {
      timers.restart(this.#id);
      return this;
    }
    close() {
      timers.stop(this.#id);
      return this;
    }
    [Symbol.toPrimitive]() {
      return this.#id;
    }
    [Symbol.dispose ?? Symbol.for("Symbol.dispose")]() {
      this.close();
    }
  }

  // As Node: what is no number, too small or too large is 1 ms.
  const delayOf = (delay) => {
    const ms = Number(delay);
    return ms >= 1 && ms <= 0x7fffffff ? Math.trunc(ms) : 1;
  };

  const start = (callback, ms, repeat, args) =>
    new Timeout(timers.start(callbackOf(callback, args), ms, repeat));
  const stop = (timer) => {
    if (timer !== undefined && timer !== null) timers.stop(Number(timer) >>> 0);
  };

  const globals = {
    setTimeout: (callback, delay, ...args) => start(callback, delayOf(delay), false, args),
    setInterval: (callback, delay, ...args) => start(callback, delayOf(delay), true, args),
    setImmediate: (callback, ...args) => start(callback, 0, false, args),
    clearTimeout: (timer) => stop(timer),
    clearInterval: (timer) => stop(timer),
    clearImmediate: (timer) => stop(timer),
  };
  for (const [name, value] of Object.entries(globals)) {
    Object.defineProperty(globalThis, name, { value, writable: true, configurable: true, enumerable: true });
  }
};
