// The part of web's `crypto` that is random.
import { DOMException } from '../events/dom-exception.js';
import { fillRandom, randomUUID } from './random.js';

const BYTES_MAX = 65_536;

export class RandomCrypto {
  getRandomValues(view) {
    if (!ArrayBuffer.isView(view) || view instanceof Float32Array || view instanceof Float64Array) {
      throw new DOMException('The data argument must be an integer-type TypedArray', 'TypeMismatchError');
    }
    if (view.byteLength > BYTES_MAX) {
      throw new DOMException(`The requested length exceeds ${BYTES_MAX} bytes`, 'QuotaExceededError');
    }
    return fillRandom(view);
  }

  randomUUID() {
    return randomUUID();
  }

  get [Symbol.toStringTag]() {
    return 'Crypto';
  }
}
