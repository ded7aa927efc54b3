/** A value to store. Text is stored as UTF-8. */
export type Value = string | ArrayBuffer | ArrayBufferView;

/** A key-value store that outlives the job. Keys are text of up to 512 bytes. */
export interface Store {
  /** The value of a key. */
  get(key: string): Promise<Uint8Array | undefined>;
  /** The value of a key as text. */
  getText(key: string): Promise<string | undefined>;
  /** The value of a key, which is JSON. */
  getJson<T = unknown>(key: string): Promise<T | undefined>;
  /** Writes a value, and replaces an earlier one. */
  set(key: string, value: Value): Promise<void>;
  /** Writes a value as JSON, and replaces an earlier one. */
  setJson(key: string, value: unknown): Promise<void>;
  /** Removes a key. A key without a value is not an error. */
  delete(key: string): Promise<void>;
  /** Returns true if the key has a value. */
  exists(key: string): Promise<boolean>;
  /**
   * Adds to a number, and returns the sum; a key without a value counts as 0. Increments of several jobs add up, and one whose
   * answer is lost is not counted twice. The value is decimal text.
   */
  increment(key: string, by?: number | bigint): Promise<number>;
  /**
   * Replaces a value by what `change` makes of it. If another job writes the key meanwhile, `change` is called again with the
   * newer value. `change` must not be asynchronous.
   */
  update(key: string, change: (current: Uint8Array | undefined) => Value): Promise<void>;
  /** `update` of a value that is JSON; returns what was written. */
  updateJson<T>(key: string, change: (current: T | undefined) => T): Promise<T>;
  /** All keys, in the order of their bytes. */
  keys(): AsyncIterable<string>;
  /** The values of up to 1,000 keys, in their order. */
  getMany(keys: Iterable<string>): Promise<(Uint8Array | undefined)[]>;
  /** Writes up to 1,000 values: all of them, or none if they do not fit. */
  setMany(entries: Iterable<[string, Value]>): Promise<void>;
  /** Removes up to 1,000 keys. */
  deleteMany(keys: Iterable<string>): Promise<void>;
}

/** Opens a store that `grants.kv` names (by default `default`). Calls on a store that is not granted fail. */
export function open(name?: string): Store;
