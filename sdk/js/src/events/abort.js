// `AbortController` and `AbortSignal`.
import { Event, EventTarget, handler } from './event-target.js';
import { DOMException } from './dom-exception.js';

const key = Symbol('key');
const aborted = () => new DOMException('This operation was aborted', 'AbortError');

export class AbortSignal extends EventTarget {
  #aborted = false;
  #reason;

  get aborted() {
    return this.#aborted;
  }

  get reason() {
    return this.#reason;
  }

  throwIfAborted() {
    if (this.#aborted) throw this.#reason;
  }

  get [Symbol.toStringTag]() {
    return 'AbortSignal';
  }

  /** For those who hold the key. */
  [key](reason = aborted()) {
    if (this.#aborted) return;
    this.#aborted = true;
    this.#reason = reason;
    this.dispatchEvent(new Event('abort'));
  }

  static abort(reason) {
    const signal = new AbortSignal();
    signal[key](reason);
    return signal;
  }

  static timeout(ms) {
    const signal = new AbortSignal();
    setTimeout(() => signal[key](new DOMException('The operation was aborted due to timeout', 'TimeoutError')), ms);
    return signal;
  }

  static any(signals) {
    const all = [...signals];
    const done = all.find((signal) => signal.aborted);
    if (done) return AbortSignal.abort(done.reason);
    const signal = new AbortSignal();
    const follow = (event) => {
      for (const other of all) other.removeEventListener('abort', follow);
      signal[key](event.target.reason);
    };
    for (const other of all) other.addEventListener('abort', follow);
    return signal;
  }
}
handler(AbortSignal.prototype, 'onabort');

/** Aborts a signal of the runtime's own. */
export const abort = (signal, reason) => signal[key](reason);

export class AbortController {
  #signal = new AbortSignal();

  get signal() {
    return this.#signal;
  }

  abort(reason) {
    abort(this.#signal, reason);
  }

  get [Symbol.toStringTag]() {
    return 'AbortController';
  }
}
