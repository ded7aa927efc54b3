// `TextEncoder` and `TextDecoder`, where the engine has none: UTF-8, and of the others those that packages ask for.

const toUtf8 = (text) => {
  const bytes = [];
  for (const character of text) {
    let code = character.codePointAt(0);
    // Half of a surrogate pair.
    if (code >= 0xd800 && code <= 0xdfff) code = 0xfffd;
    if (code < 0x80) bytes.push(code);
    else if (code < 0x800) bytes.push(0xc0 | (code >> 6), 0x80 | (code & 63));
    else if (code < 0x10000) bytes.push(0xe0 | (code >> 12), 0x80 | ((code >> 6) & 63), 0x80 | (code & 63));
    else bytes.push(0xf0 | (code >> 18), 0x80 | ((code >> 12) & 63), 0x80 | ((code >> 6) & 63), 0x80 | (code & 63));
  }
  return Uint8Array.from(bytes);
};

class Encoder {
  get encoding() {
    return 'utf-8';
  }

  encode(text = '') {
    return toUtf8(String(text));
  }

  encodeInto(text, target) {
    let [read, written] = [0, 0];
    for (const character of String(text)) {
      const bytes = toUtf8(character);
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
const LONGEST = [0, 0, 0x80, 0x800, 0x10000];
const CHUNK = 8192;

const text = (codes) => {
  let made = '';
  for (let at = 0; at < codes.length; at += CHUNK) made += String.fromCodePoint(...codes.slice(at, at + CHUNK));
  return made;
};

/** The length that the first byte of a character announces; 0 where none begins with it. */
function lengthOf(byte) {
  if (byte < 0x80) return 1;
  if (byte >= 0xc2 && byte <= 0xdf) return 2;
  if (byte >= 0xe0 && byte <= 0xef) return 3;
  return byte >= 0xf0 && byte <= 0xf4 ? 4 : 0;
}

/** How many of the bytes after `at` continue a character as they must. */
function continued(bytes, at, length) {
  let found = 1;
  for (; found < length && at + found < bytes.length; found += 1) {
    const byte = bytes[at + found];
    let [least, most] = [0x80, 0xbf];
    if (found === 1) {
      const first = bytes[at];
      if (first === 0xe0) least = 0xa0;
      if (first === 0xed) most = 0x9f;
      if (first === 0xf0) least = 0x90;
      if (first === 0xf4) most = 0x8f;
    }
    if (byte < least || byte > most) break;
  }
  return found;
}

/** The code points of UTF-8, and the bytes at the end that may be continued. */
function fromUtf8(bytes, fatal, stream) {
  const codes = [];
  let at = 0;
  while (at < bytes.length) {
    const length = lengthOf(bytes[at]);
    const found = length ? continued(bytes, at, length) : 1;
    if (length && found === length) {
      let code = length === 1 ? bytes[at] : bytes[at] & (0x7f >> length);
      for (let next = 1; next < length; next += 1) code = (code << 6) | (bytes[at + next] & 63);
      codes.push(code >= LONGEST[length] ? code : 0xfffd);
    } else if (length && stream && at + found === bytes.length) {
      return [codes, bytes.slice(at)];
    } else if (fatal) {
      throw new TypeError('The encoded data was not valid for encoding utf-8');
    } else {
      codes.push(0xfffd);
    }
    at += found;
  }
  return [codes, new Uint8Array()];
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

class Decoder {
  #rest = new Uint8Array();
  #begun = false;

  constructor(label = 'utf-8', { fatal = false, ignoreBOM = false } = {}) {
    this.encoding = NAMES[String(label).trim().toLowerCase()];
    if (!this.encoding) throw new RangeError(`The "${label}" encoding is not supported`);
    Object.assign(this, { fatal, ignoreBOM });
  }

  decode(input, { stream = false } = {}) {
    const bytes = joined(this.#rest, bytesOf(input));
    const [codes, rest] = this.#codes(bytes, stream);
    this.#rest = rest;
    if (!this.#begun && codes[0] === 0xfeff && !this.ignoreBOM) codes.shift();
    this.#begun = stream && (this.#begun || codes.length > 0);
    return text(codes);
  }

  #codes(bytes, stream) {
    if (this.encoding === 'utf-8') return fromUtf8(bytes, this.fatal, stream);
    if (this.encoding === 'utf-16le') {
      const even = bytes.length - (bytes.length % 2);
      const codes = [];
      for (let at = 0; at < even; at += 2) codes.push(bytes[at] | (bytes[at + 1] << 8));
      return [codes, bytes.slice(even)];
    }
    const code = (byte) => (byte >= 0x80 && byte < 0xa0 ? WINDOWS_1252.codePointAt(byte - 0x80) : byte);
    return [Array.from(bytes, code), new Uint8Array()];
  }
}
Object.defineProperty(Encoder, 'name', { value: 'TextEncoder' });
Object.defineProperty(Decoder, 'name', { value: 'TextDecoder' });

globalThis.TextEncoder ??= Encoder;
globalThis.TextDecoder ??= Decoder;
