// `TextEncoder` and `TextDecoder`: the engine does the work for UTF-8; of other encodings there are those that packages ask
// for.
import { host } from '../host.js';

class TextEncoder {
  get encoding() {
    return 'utf-8';
  }

  encode(text = '') {
    return new Uint8Array(host.encodeUtf8(String(text).toWellFormed()));
  }

  encodeInto(text, target) {
    let [read, written] = [0, 0];
    for (const character of String(text)) {
      const bytes = this.encode(character);
      if (written + bytes.length > target.length) break;
      target.set(bytes, written);
      read += character.length;
      written += bytes.length;
    }
    return { read, written };
  }
}

const NAMES = {
  'utf-8': 'utf-8', utf8: 'utf-8', 'unicode-1-1-utf-8': 'utf-8',
  'utf-16le': 'utf-16le', 'utf-16': 'utf-16le', 'ucs-2': 'utf-16le',
  'iso-8859-1': 'windows-1252', latin1: 'windows-1252', ascii: 'windows-1252', 'us-ascii': 'windows-1252',
  'windows-1252': 'windows-1252',
};
/** What windows-1252 has in place of the control characters from 0x80 on. */
const WINDOWS_1252 = '€\x81‚ƒ„…†‡ˆ‰Š‹Œ\x8dŽ\x8f\x90‘’“”•–—˜™š›œ\x9džŸ';
const CHUNK = 8192;

function fromCodes(codes) {
  let made = '';
  for (let at = 0; at < codes.length; at += CHUNK) made += String.fromCharCode(...codes.slice(at, at + CHUNK));
  return made;
}

/** How many bytes at the end begin a character that may go on. */
function unfinished(bytes) {
  for (let back = 1; back <= Math.min(3, bytes.length); back += 1) {
    const byte = bytes[bytes.length - back];
    if (byte < 0x80) return 0;
    if (byte < 0xc0) continue;
    const length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2;
    return length > back ? back : 0;
  }
  return 0;
}

const bytesOf = (input) => {
  if (input === undefined) return new Uint8Array();
  if (ArrayBuffer.isView(input)) return new Uint8Array(input.buffer, input.byteOffset, input.byteLength);
  return new Uint8Array(input);
};

function joined(first, second) {
  if (first.length === 0) return second;
  const all = new Uint8Array(first.length + second.length);
  all.set(first);
  all.set(second, first.length);
  return all;
}

class TextDecoder {
  #rest = new Uint8Array();
  #begun = false;

  constructor(label = 'utf-8', { fatal = false, ignoreBOM = false } = {}) {
    this.encoding = NAMES[String(label).trim().toLowerCase()];
    if (!this.encoding) throw new RangeError(`The "${label}" encoding is not supported`);
    Object.assign(this, { fatal, ignoreBOM });
  }

  decode(input, { stream = false } = {}) {
    const bytes = joined(this.#rest, bytesOf(input));
    const kept = stream ? this.#unfinished(bytes) : 0;
    this.#rest = kept ? bytes.slice(bytes.length - kept) : new Uint8Array();
    const text = this.#text(kept ? bytes.subarray(0, bytes.length - kept) : bytes);
    const marked = !this.#begun && !this.ignoreBOM && text.charCodeAt(0) === 0xfeff;
    this.#begun = stream && (this.#begun || text !== '');
    return marked ? text.slice(1) : text;
  }

  #unfinished(bytes) {
    if (this.encoding === 'utf-8') return unfinished(bytes);
    return this.encoding === 'utf-16le' ? bytes.length % 2 : 0;
  }

  #text(bytes) {
    if (this.encoding === 'utf-8') {
      const text = host.decodeUtf8(bytes.buffer, bytes.byteOffset, bytes.byteOffset + bytes.byteLength, this.fatal);
      if (text === undefined) throw new TypeError('The encoded data was not valid for encoding utf-8');
      return text;
    }
    if (this.encoding === 'utf-16le') {
      return fromCodes(Array.from({ length: bytes.length >> 1 }, (_, at) => bytes[2 * at] | (bytes[2 * at + 1] << 8)));
    }
    const code = (byte) => (byte >= 0x80 && byte < 0xa0 ? WINDOWS_1252.charCodeAt(byte - 0x80) : byte);
    return fromCodes(Array.from(bytes, code));
  }
}

Object.assign(globalThis, { TextDecoder, TextEncoder });
