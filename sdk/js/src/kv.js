// Key-value stores that outlive the job. The host judges each call by the grant `kv`; a bundle that has this file in it
// imports `wasi:keyvalue`.
import { host } from './host.js';

/** A value as the engine takes it: bytes of their own, since a view may show a part of a larger buffer. */
function toBuffer(value) {
  if (typeof value === 'string') return host.encodeUtf8(value);
  if (value instanceof ArrayBuffer) return value;
  if (ArrayBuffer.isView(value)) return value.buffer.slice(value.byteOffset, value.byteOffset + value.byteLength);
  throw new TypeError('a value is a string, an ArrayBuffer or a view of one; `setJson` takes any other');
}

const toBytes = (buffer) => (buffer === undefined ? undefined : new Uint8Array(buffer));
const toText = (buffer) => (buffer === undefined ? undefined : host.decodeUtf8(buffer, 0, buffer.byteLength, false));

function toJson(value) {
  const text = JSON.stringify(value);
  if (text === undefined) throw new TypeError('the value cannot be written as JSON');
  return text;
}

function fromJson(key, buffer) {
  if (buffer === undefined) return undefined;
  try {
    return JSON.parse(toText(buffer));
  } catch (error) {
    throw new SyntaxError(`value of \`${key}\` is not JSON: ${error.message}`, { cause: error });
  }
}

class Store {
  #name;

  constructor(name) {
    this.#name = name;
  }

  async get(key) {
    return toBytes(host.kv.get(this.#name, key));
  }

  async getText(key) {
    return toText(host.kv.get(this.#name, key));
  }

  async getJson(key) {
    return fromJson(key, host.kv.get(this.#name, key));
  }

  async set(key, value) {
    host.kv.set(this.#name, key, toBuffer(value));
  }

  async setJson(key, value) {
    host.kv.set(this.#name, key, host.encodeUtf8(toJson(value)));
  }

  async delete(key) {
    host.kv.delete(this.#name, key);
  }

  async exists(key) {
    return host.kv.exists(this.#name, key);
  }

  async increment(key, by = 1) {
    return Number(host.kv.increment(this.#name, key, String(by)));
  }

  async update(key, change) {
    host.kv.update(this.#name, key, (buffer) => toBuffer(change(toBytes(buffer))));
  }

  async updateJson(key, change) {
    let value;
    host.kv.update(this.#name, key, (buffer) => {
      value = change(fromJson(key, buffer));
      return host.encodeUtf8(toJson(value));
    });
    return value;
  }

  async *keys() {
    let cursor;
    do {
      const [keys, next] = host.kv.keys(this.#name, cursor);
      yield* keys;
      cursor = next;
    } while (cursor !== undefined && cursor !== null);
  }

  async getMany(keys) {
    return host.kv.getMany(this.#name, [...keys]).map(toBytes);
  }

  async setMany(entries) {
    const all = [...entries];
    host.kv.setMany(this.#name, all.map(([key]) => key), all.map(([, value]) => toBuffer(value)));
  }

  async deleteMany(keys) {
    host.kv.deleteMany(this.#name, [...keys]);
  }
}

export const open = (name = 'default') => new Store(name);
