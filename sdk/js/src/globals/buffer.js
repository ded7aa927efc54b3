// Node's `Buffer`: the package `buffer`, and the encoding `base64url` that it lacks.
import { Buffer, kMaxLength, SlowBuffer } from 'buffer/';

const isUrlForm = (encoding) => typeof encoding === 'string' && encoding.toLowerCase() === 'base64url';
const toUrlForm = (text) => text.replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/, '');
// The package reads both alphabets as base64.
const plain = (encoding) => (isUrlForm(encoding) ? 'base64' : encoding);

const { from, alloc, byteLength, isEncoding } = Buffer;
const { toString, write, fill, equals, indexOf, includes, lastIndexOf } = Buffer.prototype;

Buffer.from = (value, encoding, length) => from(value, plain(encoding), length);
Buffer.alloc = (size, value, encoding) => alloc(size, value, plain(encoding));
Buffer.byteLength = (value, encoding) => byteLength(value, plain(encoding));
Buffer.isEncoding = (encoding) => isUrlForm(encoding) || isEncoding(encoding);
Buffer.prototype.toString = function (encoding, ...range) {
  return isUrlForm(encoding) ? toUrlForm(toString.call(this, 'base64', ...range)) : toString.call(this, encoding, ...range);
};
Buffer.prototype.toLocaleString = Buffer.prototype.toString;
Buffer.prototype.write = function (text, ...args) {
  return write.call(this, text, ...args.map(plain));
};
Buffer.prototype.fill = function (value, ...args) {
  return fill.call(this, value, ...args.map(plain));
};
Buffer.prototype.equals = function (other) {
  return equals.call(this, Buffer.isBuffer(other) ? other : Buffer.from(other));
};
for (const [name, search] of Object.entries({ indexOf, includes, lastIndexOf })) {
  Buffer.prototype[name] = function (value, ...args) {
    return search.call(this, value, ...args.map(plain));
  };
}

globalThis.Buffer = Buffer;
const constants = { MAX_LENGTH: kMaxLength, MAX_STRING_LENGTH: 2 ** 29 - 24 };
export { Buffer, constants, kMaxLength, SlowBuffer };
