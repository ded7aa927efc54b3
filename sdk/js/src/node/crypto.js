// Node's `crypto`, as far as it can be had in JavaScript: hashes, HMAC, keys derived from passwords, random numbers.
import { md5, ripemd160, sha1 } from '@noble/hashes/legacy.js';
import { hmac } from '@noble/hashes/hmac.js';
import { hkdf as nobleHkdf } from '@noble/hashes/hkdf.js';
import { pbkdf2 as noblePbkdf2 } from '@noble/hashes/pbkdf2.js';
import { scrypt as nobleScrypt } from '@noble/hashes/scrypt.js';
import { sha224, sha256, sha384, sha512, sha512_256 } from '@noble/hashes/sha2.js';
import { Buffer } from '../globals/buffer.js';
import { crypto as webcrypto } from '../crypto/web.js';
import { fillRandom, randomBytes as random, randomUUID } from '../crypto/random.js';
import { missing } from '../missing.js';

const HASHES = { md5, ripemd160, rmd160: ripemd160, sha1, sha224, sha256, sha384, sha512, 'sha512-256': sha512_256 };
const HIGHEST = 2 ** 48;
/** What is hashed, and what other arguments are, in the words of Node's errors. */
const DATA = 'of type string or an instance of Buffer, TypedArray, or DataView';
const BYTES = 'of type string or an instance of ArrayBuffer, Buffer, TypedArray, DataView, or KeyObject';
const ADVICE = 'a package in JavaScript alone has it: @noble/curves, @noble/ciphers, node-forge';

function hashOf(name) {
  const hash = HASHES[String(name).toLowerCase().replace(/^rsa-/, '').replace(/^sha-/, 'sha').replace('/', '-')];
  if (!hash) throw missing(`crypto.createHash('${name}')`, `there are ${Object.keys(HASHES).join(', ')}`);
  return hash;
}

const invalid = (message) => Object.assign(new TypeError(message), { code: 'ERR_INVALID_ARG_TYPE' });

/** The bytes of data or of a key. Anything else would be hashed as no bytes, and look right. */
const bytesOf = (data, encoding, argument = 'data') => {
  if (typeof data === 'string') return Buffer.from(data, encoding);
  if (data instanceof SecretKey && argument !== 'data') return data.export();
  if (ArrayBuffer.isView(data)) return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  if (data instanceof ArrayBuffer && argument !== 'data') return new Uint8Array(data);
  throw invalid(`The "${argument}" argument must be ${argument === 'data' ? DATA : BYTES}. Received ${receivedText(data)}`);
};

/** What was given in place of bytes, as Node's errors say it. */
function receivedText(value) {
  if (value === undefined || value === null) return `${value}`;
  if (typeof value === 'function') return `function ${value.name}`;
  if (typeof value === 'object') return `an instance of ${value.constructor?.name || 'Object'}`;
  return `type ${typeof value} (${typeof value === 'bigint' ? `${value}n` : String(value)})`;
}
const given = (bytes, encoding) => {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return encoding && encoding !== 'buffer' ? buffer.toString(encoding) : buffer;
};

class Digest {
  #state;
  #done = false;

  constructor(state) {
    this.#state = state;
  }

  update(data, encoding) {
    if (this.#done) throw new Error('Digest already called');
    this.#state.update(bytesOf(data, encoding));
    return this;
  }

  digest(encoding) {
    if (this.#done) throw new Error('Digest already called');
    this.#done = true;
    return given(this.#state.digest(), encoding);
  }

  copy() {
    return new this.constructor(this.#state.clone());
  }
}
export class Hash extends Digest {}
export class Hmac extends Digest {}

class SecretKey {
  #bytes;

  constructor(bytes) {
    this.#bytes = bytes;
    this.type = 'secret';
    this.symmetricKeySize = bytes.length;
  }

  export({ format } = {}) {
    if (format === 'jwk') return { kty: 'oct', k: given(this.#bytes, 'base64url') };
    return Buffer.from(this.#bytes);
  }
}
export { SecretKey as KeyObject };

export const createHash = (name) => new Hash(hashOf(name).create());
export const createHmac = (name, key) => new Hmac(hmac.create(hashOf(name), bytesOf(key, undefined, 'key')));
export const createSecretKey = (key, encoding) => new SecretKey(bytesOf(key, encoding, 'key').slice());
export const getHashes = () => Object.keys(HASHES);
export const hash = (name, data, encoding = 'hex') => createHash(name).update(data).digest(encoding);

/** A function that computes at once, as Node's with a callback. */
const later =
  (compute) =>
  (...args) => {
    const callback = args.pop();
    queueMicrotask(() => {
      try {
        callback(null, compute(...args));
      } catch (error) {
        callback(error);
      }
    });
  };

export function randomBytes(size, callback) {
  if (callback) return later((count) => given(random(count)))(size, callback);
  return given(fillRandom(new Uint8Array(size)));
}
export { randomBytes as pseudoRandomBytes, randomBytes as rng, randomBytes as prng };
export function randomFillSync(view, offset = 0, size = view.byteLength - offset) {
  fillRandom(new Uint8Array(view.buffer ?? view, (view.byteOffset ?? 0) + offset, size));
  return view;
}
export const randomFill = later(randomFillSync);
export function randomInt(...args) {
  const callback = typeof args.at(-1) === 'function' ? args.pop() : undefined;
  const [least, most] = args.length > 1 ? args : [0, ...args];
  const range = most - least;
  if (!(range > 0 && range <= HIGHEST)) throw new RangeError('The value of "max" is out of range');
  const limit = HIGHEST - (HIGHEST % range);
  let value;
  do value = given(random(6)).readUIntBE(0, 6);
  while (value >= limit);
  const result = least + (value % range);
  if (!callback) return result;
  return queueMicrotask(() => callback(null, result));
}

export function timingSafeEqual(first, second) {
  const viewOf = (bytes, argument) => {
    if (ArrayBuffer.isView(bytes) || bytes instanceof ArrayBuffer) return bytesOf(bytes, undefined, argument);
    throw invalid(`The "${argument}" argument must be an instance of ArrayBuffer, Buffer, TypedArray, or DataView.`);
  };
  const [a, b] = [viewOf(first, 'buf1'), viewOf(second, 'buf2')];
  if (a.length !== b.length) throw new RangeError('Input buffers must have the same byte length');
  return a.reduce((different, byte, at) => different | (byte ^ b[at]), 0) === 0;
}

export const pbkdf2Sync = (password, salt, iterations, length, digest) =>
  given(noblePbkdf2(hashOf(digest), bytesOf(password, undefined, 'password'), bytesOf(salt, undefined, 'salt'), { c: iterations, dkLen: length }));
export const pbkdf2 = later(pbkdf2Sync);
export function scryptSync(password, salt, length, { N, cost = N ?? 16_384, r, blockSize = r ?? 8, p, parallelization = p ?? 1 } = {}) {
  const options = { N: cost, r: blockSize, p: parallelization, dkLen: length };
  return given(nobleScrypt(bytesOf(password, undefined, 'password'), bytesOf(salt, undefined, 'salt'), options));
}
export function scrypt(...args) {
  const callback = args.pop();
  return later(scryptSync)(...args, callback);
}
export const hkdfSync = (digest, key, salt, info, length) =>
  nobleHkdf(hashOf(digest), bytesOf(key, undefined, 'ikm'), bytesOf(salt, undefined, 'salt'), bytesOf(info, undefined, 'info'), length).slice().buffer;
export const hkdf = later(hkdfSync);

export const { subtle } = webcrypto;
export const getRandomValues = (view) => webcrypto.getRandomValues(view);
export const constants = {};
export const getCiphers = () => [];
export const getCurves = () => [];
export { randomUUID, webcrypto };

/** What needs code that is not here. The bundler refuses these names in the processor's own files. */
const refused = (name) => {
  throw missing(`crypto.${name}`, ADVICE);
};
export const createSign = () => refused('createSign');
export const createVerify = () => refused('createVerify');
export const sign = () => refused('sign');
export const verify = () => refused('verify');
export const createCipheriv = () => refused('createCipheriv');
export const createDecipheriv = () => refused('createDecipheriv');
export const createPrivateKey = () => refused('createPrivateKey');
export const createPublicKey = () => refused('createPublicKey');
export const createDiffieHellman = () => refused('createDiffieHellman');
export const createECDH = () => refused('createECDH');
export const diffieHellman = () => refused('diffieHellman');
export const generateKeyPair = () => refused('generateKeyPair');
export const generateKeyPairSync = () => refused('generateKeyPairSync');
export const privateDecrypt = () => refused('privateDecrypt');
export const privateEncrypt = () => refused('privateEncrypt');
export const publicDecrypt = () => refused('publicDecrypt');
export const publicEncrypt = () => refused('publicEncrypt');
export const X509Certificate = class {
  constructor() {
    refused('X509Certificate');
  }
};

export default {
  constants, createCipheriv, createDecipheriv, createDiffieHellman, createECDH, createHash, createHmac, createPrivateKey,
  createPublicKey, createSecretKey, createSign, createVerify, diffieHellman, generateKeyPair, generateKeyPairSync,
  getCiphers, getCurves, getHashes, getRandomValues, hash, Hash, hkdf, hkdfSync, Hmac, KeyObject: SecretKey, pbkdf2,
  pbkdf2Sync, privateDecrypt, privateEncrypt, prng: randomBytes, pseudoRandomBytes: randomBytes, publicDecrypt,
  publicEncrypt, randomBytes, randomFill, randomFillSync, randomInt, randomUUID, rng: randomBytes, scrypt, scryptSync, sign,
  subtle, timingSafeEqual, verify, webcrypto, X509Certificate,
};
