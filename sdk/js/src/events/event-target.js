// `Event` and `EventTarget` without a tree: listeners, options `once` and `signal`, errors of listeners reported.

const state = new WeakMap();
const report = (error) => queueMicrotask(() => {
  throw error;
});

export class Event {
  constructor(type, { bubbles = false, cancelable = false, composed = false } = {}) {
    this.type = String(type);
    Object.assign(this, { bubbles, cancelable, composed, defaultPrevented: false, target: null, currentTarget: null });
    this.timeStamp = Date.now();
    this.isTrusted = false;
    state.set(this, { stopped: false });
  }

  preventDefault() {
    if (this.cancelable) this.defaultPrevented = true;
  }

  stopPropagation() {}

  stopImmediatePropagation() {
    state.get(this).stopped = true;
  }

  composedPath() {
    return this.target ? [this.target] : [];
  }

  get [Symbol.toStringTag]() {
    return this.constructor.name;
  }
}

export class CustomEvent extends Event {
  constructor(type, options = {}) {
    super(type, options);
    this.detail = options.detail ?? null;
  }
}

export class EventTarget {
  #listeners = [];

  addEventListener(type, listener, options) {
    if (!listener) return;
    const { once = false, signal } = typeof options === 'object' && options !== null ? options : {};
    if (signal?.aborted || this.#listeners.some((known) => known.type === type && known.listener === listener)) return;
    this.#listeners.push({ type, listener, once });
    signal?.addEventListener('abort', () => this.removeEventListener(type, listener), { once: true });
  }

  removeEventListener(type, listener) {
    this.#listeners = this.#listeners.filter((known) => known.type !== type || known.listener !== listener);
  }

  /** How many listen; not a part of the standard's interface. */
  listenerCount(type) {
    return this.#listeners.filter((known) => known.type === type).length;
  }

  dispatchEvent(event) {
    event.target = this;
    event.currentTarget = this;
    for (const known of [...this.#listeners]) {
      if (known.type !== event.type || !this.#listeners.includes(known)) continue;
      if (known.once) this.removeEventListener(known.type, known.listener);
      try {
        if (typeof known.listener === 'function') known.listener.call(this, event);
        else known.listener.handleEvent(event);
      } catch (error) {
        report(error);
      }
      if (state.get(event)?.stopped) break;
    }
    event.currentTarget = null;
    return !event.defaultPrevented;
  }
}

/** A property `on…` of a target: one listener that can be exchanged. */
export function handler(prototype, name) {
  const type = name.slice(2);
  const listeners = new WeakMap();
  Object.defineProperty(prototype, name, {
    get() {
      return listeners.get(this)?.own ?? null;
    },
    set(own) {
      const before = listeners.get(this);
      if (before) this.removeEventListener(type, before.listener);
      listeners.delete(this);
      if (typeof own !== 'function') return;
      const listener = (event) => own.call(this, event);
      listeners.set(this, { own, listener });
      this.addEventListener(type, listener);
    },
    enumerable: true,
    configurable: true,
  });
}
