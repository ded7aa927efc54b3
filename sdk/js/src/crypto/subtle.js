// `crypto.subtle`, as far as it can be had in JavaScript with care: digests, HMAC, and keys derived from them.
import { sha256, sha384, sha512 } from '@noble/hashes/sha2.js';
import { sha1 } from '@noble/hashes/legacy.js';
import { hmac } from '@noble/hashes/hmac.js';
import { hkdf } from '@noble/hashes/hkdf.js';
import { pbkdf2 } from '@noble/hashes/pbkdf2.js';
import { fromByteArray, toByteArray } from 'base64-js';
import { DOMException } from '../events/dom-exception.js';
import { randomBytes } from './random.js';

const HASHES = { 'SHA-1': sha1, 'SHA-256': sha256, 'SHA-384': sha384, 'SHA-512': sha512 };
const BITS = { 'HS1': 'SHA-1', HS256: 'SHA-256', HS384: 'SHA-384', HS512: 'SHA-512' };
const secrets = new WeakMap();

const nameOf = (algorithm) => String(typeof algorithm === 'object' ? algorithm?.name : algorithm);
const bytesOf = (data) =>
  ArrayBuffer.isView(data) ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength) : new Uint8Array(data);
const bufferOf = (bytes) => bytes.slice().buffer;

const refused = (what) =>
  new DOMException(
    `${what} is not available in a processor: \`crypto.subtle\` has SHA digests, HMAC, HKDF and PBKDF2; packages in JavaScript alone (@noble/curves, @noble/ciphers) have more`,
    'NotSupportedError',
  );

function hashOf(algorithm) {
  const name = nameOf(algorithm).toUpperCase();
  const hash = HASHES[name];
  if (!hash) throw refused(`the digest ${nameOf(algorithm)}`);
  return [name, hash];
}

export class CryptoKey {
  constructor(type, extractable, algorithm, usages, secret) {
    Object.assign(this, { type, extractable, algorithm, usages });
    secrets.set(this, secret);
  }

  get [Symbol.toStringTag]() {
    return 'CryptoKey';
  }
}

function used(key, usage) {
  if (!secrets.has(key)) throw new TypeError('the key is no CryptoKey');
  if (!key.usages.includes(usage)) throw new DOMException(`the key may not be used to ${usage}`, 'InvalidAccessError');
  return secrets.get(key);
}

const fromJwkText = (text) => {
  const plain = text.replaceAll('-', '+').replaceAll('_', '/');
  return toByteArray(plain + '='.repeat((4 - (plain.length % 4)) % 4));
};
const toJwkText = (bytes) => fromByteArray(bytes).replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/, '');

function hmacKey(algorithm, extractable, usages, secret) {
  const [name] = hashOf(algorithm.hash);
  const described = { name: 'HMAC', hash: { name }, length: secret.length * 8 };
  return new CryptoKey('secret', extractable, described, [...usages], secret);
}

function bitsFrom(algorithm, key, length) {
  const secret = secrets.get(key);
  const bytes = length / 8;
  const [, hash] = hashOf(algorithm.hash);
  const salt = bytesOf(algorithm.salt);
  switch (nameOf(algorithm).toUpperCase()) {
    case 'HKDF':
      return hkdf(hash, secret, salt, bytesOf(algorithm.info), bytes);
    case 'PBKDF2':
      return pbkdf2(hash, secret, salt, { c: algorithm.iterations, dkLen: bytes });
    default:
      throw refused(`deriving bits by ${nameOf(algorithm)}`);
  }
}

const sameBytes = (first, second) =>
  first.length === second.length && first.reduce((different, byte, at) => different | (byte ^ second[at]), 0) === 0;

export class SubtleCrypto {
  async digest(algorithm, data) {
    const [, hash] = hashOf(algorithm);
    return bufferOf(hash(bytesOf(data)));
  }

  async importKey(format, keyData, algorithm, extractable, usages) {
    const name = nameOf(algorithm).toUpperCase();
    if (format !== 'raw' && !(format === 'jwk' && keyData?.kty === 'oct')) {
      throw refused(`keys of ${nameOf(algorithm)} in the format ${format}`);
    }
    const secret = format === 'raw' ? bytesOf(keyData).slice() : fromJwkText(keyData.k);
    if (name === 'HMAC') {
      const hash = algorithm.hash ?? BITS[keyData.alg];
      return hmacKey({ hash }, extractable, usages, secret);
    }
    if (name === 'HKDF' || name === 'PBKDF2') return new CryptoKey('secret', false, { name }, [...usages], secret);
    throw refused(`keys of ${nameOf(algorithm)}`);
  }

  async exportKey(format, key) {
    if (!key.extractable) throw new DOMException('the key may not be exported', 'InvalidAccessError');
    const secret = secrets.get(key);
    if (format === 'raw') return bufferOf(secret);
    if (format !== 'jwk') throw refused(`keys in the format ${format}`);
    const alg = key.algorithm.hash.name.replace('SHA-', 'HS');
    return { kty: 'oct', k: toJwkText(secret), alg, ext: true, key_ops: [...key.usages] };
  }

  async generateKey(algorithm, extractable, usages) {
    if (nameOf(algorithm).toUpperCase() !== 'HMAC') throw refused(`keys of ${nameOf(algorithm)}`);
    const [, hash] = hashOf(algorithm.hash);
    return hmacKey(algorithm, extractable, usages, randomBytes((algorithm.length ?? hash.blockLen * 8) / 8));
  }

  async sign(algorithm, key, data) {
    if (nameOf(algorithm).toUpperCase() !== 'HMAC') throw refused(`signing by ${nameOf(algorithm)}`);
    const secret = used(key, 'sign');
    const [, hash] = hashOf(key.algorithm.hash);
    return bufferOf(hmac(hash, secret, bytesOf(data)));
  }

  async verify(algorithm, key, signature, data) {
    if (nameOf(algorithm).toUpperCase() !== 'HMAC') throw refused(`verifying by ${nameOf(algorithm)}`);
    const secret = used(key, 'verify');
    const [, hash] = hashOf(key.algorithm.hash);
    return sameBytes(hmac(hash, secret, bytesOf(data)), bytesOf(signature));
  }

  async deriveBits(algorithm, key, length) {
    return bufferOf(bitsFrom(algorithm, key, length));
  }

  async deriveKey(algorithm, key, derived, extractable, usages) {
    if (nameOf(derived).toUpperCase() !== 'HMAC') throw refused(`keys of ${nameOf(derived)}`);
    const [, hash] = hashOf(derived.hash);
    return hmacKey(derived, extractable, usages, bitsFrom(algorithm, key, derived.length ?? hash.blockLen * 8));
  }
}

for (const method of ['encrypt', 'decrypt', 'wrapKey', 'unwrapKey']) {
  SubtleCrypto.prototype[method] = async (algorithm) => {
    throw refused(`${method} by ${nameOf(algorithm)}`);
  };
}
