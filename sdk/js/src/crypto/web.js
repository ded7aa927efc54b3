// Web's `crypto` object.
import { RandomCrypto } from './random-crypto.js';
import { SubtleCrypto } from './subtle.js';

export class Crypto extends RandomCrypto {
  subtle = new SubtleCrypto();
}

export const crypto = new Crypto();
