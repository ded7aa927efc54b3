// `crypto` for bundles that ask it for random numbers alone: a third of the size.
import { RandomCrypto } from '../crypto/random-crypto.js';

Object.assign(globalThis, { crypto: new RandomCrypto(), Crypto: RandomCrypto });
