// `Blob` and `File`: bytes with a type, and a name.
import { fromUtf8, toUtf8 } from './utf8.js';

const contents = new WeakMap();

function bytesOf(part) {
  if (contents.has(part)) return contents.get(part);
  if (ArrayBuffer.isView(part)) return new Uint8Array(part.buffer, part.byteOffset, part.byteLength);
  if (part instanceof ArrayBuffer) return new Uint8Array(part);
  return toUtf8(String(part));
}

export function joined(chunks) {
  const all = new Uint8Array(chunks.reduce((size, chunk) => size + chunk.length, 0));
  let at = 0;
  for (const chunk of chunks) {
    all.set(chunk, at);
    at += chunk.length;
  }
  return all;
}

export class Blob {
  constructor(parts = [], { type = '' } = {}) {
    contents.set(this, joined(Array.from(parts, bytesOf)));
    this.type = /[^\x20-\x7e]/.test(type) ? '' : String(type).toLowerCase();
  }

  get size() {
    return contents.get(this).length;
  }

  slice(start = 0, end = this.size, type = '') {
    return new Blob([contents.get(this).slice(start, end)], { type });
  }

  async arrayBuffer() {
    return contents.get(this).slice().buffer;
  }

  async bytes() {
    return contents.get(this).slice();
  }

  async text() {
    return fromUtf8(contents.get(this));
  }

  stream() {
    const bytes = contents.get(this);
    return new globalThis.ReadableStream({
      start(controller) {
        if (bytes.length) controller.enqueue(bytes.slice());
        controller.close();
      },
    });
  }

  get [Symbol.toStringTag]() {
    return this.constructor.name;
  }
}

export class File extends Blob {
  constructor(parts, name, options = {}) {
    super(parts, options);
    this.name = String(name);
    this.lastModified = options.lastModified ?? Date.now();
  }
}

/** The bytes of a blob, now. */
export const bytesOfBlob = (blob) => contents.get(blob);
