// `atob` and `btoa`, where the engine has none.
import { fromByteArray, toByteArray } from 'base64-js';
import { DOMException } from '../events/dom-exception.js';

function atob(text) {
  const clean = String(text).replace(/[\t\n\f\r ]+/g, '').replace(/={1,2}$/, '');
  if (clean.length % 4 === 1 || /[^A-Za-z0-9+/]/.test(clean)) {
    throw new DOMException('The string to be decoded is not correctly encoded.', 'InvalidCharacterError');
  }
  const bytes = toByteArray(clean + '='.repeat((4 - (clean.length % 4)) % 4));
  return Array.from(bytes, (byte) => String.fromCharCode(byte)).join('');
}

function btoa(text) {
  const bytes = Uint8Array.from(String(text), (character) => {
    const code = character.charCodeAt(0);
    if (code > 255 || character.length > 1) throw new DOMException('Invalid character', 'InvalidCharacterError');
    return code;
  });
  return fromByteArray(bytes);
}

globalThis.atob ??= atob;
globalThis.btoa ??= btoa;
