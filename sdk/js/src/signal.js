// The `AbortSignal` that a processor gets as its third argument. The host is asked when somebody looks, and by a timer
// while somebody listens.
import { host } from './host.js';
import { AbortSignal, abort } from './events/abort.js';
import { DOMException } from './events/dom-exception.js';

const POLL_MS = 100;

/** BullMQ's reason is the text that was given with the cancellation. */
const reason = () => host.job.cancelReason() ?? new DOMException('the job is near the end of its time', 'TimeoutError');

export class JobSignal extends AbortSignal {
  #listeners = 0;
  #timer;

  /** Looks whether the job should stop. */
  #look() {
    if (!super.aborted && host.job.isCancelled()) {
      this.end();
      abort(this, reason());
    }
  }

  get aborted() {
    this.#look();
    return super.aborted;
  }

  get reason() {
    this.#look();
    return super.reason;
  }

  throwIfAborted() {
    if (this.aborted) throw this.reason;
  }

  addEventListener(type, ...rest) {
    super.addEventListener(type, ...rest);
    this.#watch();
  }

  removeEventListener(type, ...rest) {
    super.removeEventListener(type, ...rest);
    this.#watch();
  }

  /** The timer runs while there are listeners. */
  #watch() {
    this.#listeners = this.listenerCount('abort');
    if (this.#listeners === 0) return this.end();
    if (this.#timer === undefined && !super.aborted) this.#timer = setInterval(() => this.#look(), POLL_MS);
  }

  get onabort() {
    return super.onabort;
  }

  set onabort(listener) {
    super.onabort = listener;
    this.#watch();
  }

  /** Stops asking. */
  end() {
    if (this.#timer !== undefined) clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
