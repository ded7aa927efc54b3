// `crypto`, with random numbers, digests and HMAC.
import { Crypto, crypto } from '../crypto/web.js';
import { CryptoKey, SubtleCrypto } from '../crypto/subtle.js';

Object.assign(globalThis, { crypto, Crypto, CryptoKey, SubtleCrypto });
