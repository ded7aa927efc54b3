// Random numbers of the host. While a processor is built they are refused: all its jobs would share them.
import { host, phase } from '../host.js';

const BYTES_MAX = 65_536;

export function randomBytes(count) {
  if (phase.loading) {
    throw new Error(
      'random numbers are not available while the processor is built: every job would get the same; ask for them inside the processor',
    );
  }
  return new Uint8Array(host.randomBytes(count));
}

/** Fills a view of a typed array of whole numbers. */
export function fillRandom(view) {
  const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
  for (let at = 0; at < bytes.length; at += BYTES_MAX) {
    bytes.set(randomBytes(Math.min(BYTES_MAX, bytes.length - at)), at);
  }
  return view;
}

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));

export function randomUUID() {
  const bytes = randomBytes(16);
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => HEX[byte]).join('');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}
