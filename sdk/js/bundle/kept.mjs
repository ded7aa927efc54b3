// What is kept from one bundle to the next one: esbuild reads and parses again only what has changed since.
import { context } from 'esbuild';

/** Processors that esbuild keeps at once: a host has few queues, and a script has some megabytes. */
const KEPT_MAX = 32;

/** One context of esbuild. The errors of a build that fails leave it as usable as before. */
class Incremental {
  #options;
  #refused = [];
  #made;
  #running = Promise.resolve();

  constructor(options) {
    this.#options = (refused) => options(refused);
  }

  /** Two builds of one context would share what is refused: one after the other. */
  run(refused) {
    const run = async () => {
      this.#made ??= context(this.#options(this.#refused));
      const made = await this.#made;
      this.#refused.length = 0;
      try {
        return await made.rebuild();
      } finally {
        refused.push(...this.#refused);
      }
    };
    this.#running = this.#running.then(run, run);
    return this.#running;
  }

  async dispose() {
    await (await this.#made)?.dispose();
  }
}

export class Kept {
  #contexts = new Map();

  /** A build with settings that were built before takes what is left of that one. */
  run(options, { kept, ...settings }, refused) {
    const key = JSON.stringify(settings);
    const found = this.#contexts.get(key) ?? new Incremental((all) => options({ ...settings, refused: all }));
    // The one that was used last is the last to go.
    this.#contexts.delete(key);
    this.#contexts.set(key, found);
    for (const [oldest, context] of [...this.#contexts].slice(0, -2 * KEPT_MAX)) {
      this.#contexts.delete(oldest);
      context.dispose().catch(() => {});
    }
    return found.run(refused);
  }
}
