// What requests and responses have in common: a body that is read once.
import { Blob, bytesOfBlob, joined } from './blob.js';
import { encodeForm, FormData } from './form-data.js';
import { fromUtf8, toUtf8 } from './utf8.js';

const tagOf = (value) => Object.prototype.toString.call(value).slice(8, -1);

const textBody = (text, type) => ({ bytes: toUtf8(text), type: `${type};charset=UTF-8` });

/** A body as it was given: its bytes, or what they are read from (`read`, as of the host), and its type. */
export function extract(body) {
  if (body === undefined || body === null) return {};
  if (typeof body === 'string') return textBody(body, 'text/plain');
  if (ArrayBuffer.isView(body)) return { bytes: new Uint8Array(body.buffer, body.byteOffset, body.byteLength).slice() };
  if (tagOf(body) === 'ArrayBuffer') return { bytes: new Uint8Array(body).slice() };
  if (tagOf(body) === 'URLSearchParams') return textBody(String(body), 'application/x-www-form-urlencoded');
  if (body instanceof Blob) return { bytes: bytesOfBlob(body), type: body.type || undefined };
  if (body instanceof FormData) return encodeForm(body);
  if (typeof body.getReader === 'function') return { stream: body };
  if (typeof body[Symbol.asyncIterator] === 'function') return { read: readerOf(body[Symbol.asyncIterator]()) };
  return textBody(String(body), 'text/plain');
}

const chunkBytes = (chunk) => {
  if (typeof chunk === 'string') return toUtf8(chunk);
  return ArrayBuffer.isView(chunk) ? new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.byteLength) : new Uint8Array(chunk);
};

/** Reads chunks from an iterator: undefined at the end. */
const readerOf = (iterator) => async () => {
  const { done, value } = await iterator.next();
  return done ? undefined : chunkBytes(value);
};

const readerOfStream = (stream) => {
  const reader = stream.getReader();
  return async () => {
    const { done, value } = await reader.read();
    return done ? undefined : chunkBytes(value);
  };
};

async function collect(read) {
  const chunks = [];
  for (let chunk = await read(); chunk !== undefined; chunk = await read()) chunks.push(new Uint8Array(chunk));
  return chunks.length === 1 ? chunks[0] : joined(chunks);
}

function streamOf(read, cancel) {
  const { ReadableStream } = globalThis;
  if (!ReadableStream) throw new Error('the body is not available as a stream: mention `ReadableStream` in the processor');
  return new ReadableStream({
    async pull(controller) {
      const chunk = await read();
      if (chunk === undefined) controller.close();
      else controller.enqueue(new Uint8Array(chunk));
    },
    cancel,
  });
}

/** Gives a body its source after it was made; for this folder alone. */
export let give;

export class Body {
  static {
    give = (body, source) => {
      body.#source = source;
    };
  }

  /** `{ bytes }`, `{ read, cancel }`, `{ stream }`, or nothing. */
  #source;
  #used = false;

  constructor(source) {
    this.#source = source;
  }

  get bodyUsed() {
    return this.#used || Boolean(this.#source.stream?.locked);
  }

  get body() {
    const { bytes, read, cancel, stream } = this.#source;
    if (stream) return stream;
    if (!bytes && !read) return null;
    const once = () => {
      const [chunk] = once.chunks.splice(0);
      return Promise.resolve(chunk);
    };
    once.chunks = bytes?.length ? [bytes] : [];
    const made = streamOf(
      async () => {
        this.#used = true;
        return read ? read() : once();
      },
      async () => {
        this.#used = true;
        cancel?.();
      },
    );
    this.#source = { stream: made };
    return made;
  }

  /** All bytes; the body is used then. */
  async bytes() {
    if (this.bodyUsed) throw new TypeError('Body is unusable: Body has already been read');
    const { bytes, read, stream } = this.#source;
    if (!bytes && !read && !stream) return new Uint8Array();
    this.#used = true;
    return bytes ?? collect(read ?? readerOfStream(stream));
  }

  async arrayBuffer() {
    const bytes = await this.bytes();
    return bytes.byteLength === bytes.buffer.byteLength ? bytes.buffer : bytes.slice().buffer;
  }

  async text() {
    return fromUtf8(await this.bytes());
  }

  async json() {
    return JSON.parse(await this.text());
  }

  async blob() {
    return new Blob([await this.bytes()], { type: this.headers.get('content-type') ?? '' });
  }

  async formData() {
    const type = this.headers.get('content-type') ?? '';
    if (!type.startsWith('application/x-www-form-urlencoded')) {
      throw new TypeError(`formData() of the type \`${type}\` is not available: read the body as text or bytes`);
    }
    const form = new FormData();
    const decode = (text) => decodeURIComponent(text.replaceAll('+', ' '));
    for (const pair of (await this.text()).split('&').filter(Boolean)) {
      const [name, ...value] = pair.split('=');
      form.append(decode(name), decode(value.join('=')));
    }
    return form;
  }

  /** The source of a copy: what is still to be read is read once, for both. */
  copied() {
    if (this.bodyUsed) throw new TypeError('Body is unusable: it has already been read');
    const { bytes, read, stream, cancel } = this.#source;
    if (!read && !stream) return { bytes };
    let all;
    const shared = () => {
      let done = false;
      return async () => {
        if (done) return undefined;
        done = true;
        all ??= collect(read ?? readerOfStream(stream));
        return all;
      };
    };
    this.#source = { read: shared(), cancel };
    return { read: shared(), cancel };
  }
}
