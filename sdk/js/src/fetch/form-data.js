// `FormData`, and how it is sent.
import { Blob, bytesOfBlob, File, joined } from './blob.js';
import { toUtf8 } from './utf8.js';

function valueOf(value, fileName) {
  if (!(value instanceof Blob)) return String(value);
  if (value instanceof File && fileName === undefined) return value;
  return new File([value], fileName ?? 'blob', { type: value.type });
}

export class FormData {
  #entries = [];

  append(name, value, fileName) {
    this.#entries.push([String(name), valueOf(value, fileName)]);
  }

  set(name, value, fileName) {
    const at = this.#entries.findIndex(([known]) => known === name);
    this.delete(name);
    this.#entries.splice(at < 0 ? this.#entries.length : at, 0, [String(name), valueOf(value, fileName)]);
  }

  delete(name) {
    this.#entries = this.#entries.filter(([known]) => known !== name);
  }

  get(name) {
    return this.#entries.find(([known]) => known === name)?.[1] ?? null;
  }

  getAll(name) {
    return this.#entries.filter(([known]) => known === name).map(([, value]) => value);
  }

  has(name) {
    return this.#entries.some(([known]) => known === name);
  }

  forEach(callback, self) {
    for (const [name, value] of this) callback.call(self, value, name, this);
  }

  entries() {
    return this.#entries.map((entry) => [...entry]).values();
  }

  keys() {
    return this.#entries.map(([name]) => name).values();
  }

  values() {
    return this.#entries.map(([, value]) => value).values();
  }

  [Symbol.iterator]() {
    return this.entries();
  }

  get [Symbol.toStringTag]() {
    return 'FormData';
  }
}

const quoted = (name) => name.replaceAll('\r\n', '\n').replaceAll('\n', '%0D%0A').replaceAll('"', '%22');

/** The bytes of a form, and their type. */
export function encodeForm(form) {
  const boundary = `----toril${Math.random().toString(36).slice(2)}${Math.random().toString(36).slice(2)}`;
  const chunks = [];
  for (const [name, value] of form) {
    const head = `--${boundary}\r\nContent-Disposition: form-data; name="${quoted(name)}"`;
    if (typeof value === 'string') {
      chunks.push(toUtf8(`${head}\r\n\r\n${value.replace(/\r?\n|\r/g, '\r\n')}\r\n`));
    } else {
      const type = value.type || 'application/octet-stream';
      chunks.push(toUtf8(`${head}; filename="${quoted(value.name)}"\r\nContent-Type: ${type}\r\n\r\n`));
      chunks.push(bytesOfBlob(value), toUtf8('\r\n'));
    }
  }
  chunks.push(toUtf8(`--${boundary}--\r\n`));
  return { bytes: joined(chunks), type: `multipart/form-data; boundary=${boundary}` };
}
