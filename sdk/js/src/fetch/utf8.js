// Text to UTF-8 and back.
import '../globals/encoding.js';

export const toUtf8 = (text) => new globalThis.TextEncoder().encode(text);
export const fromUtf8 = (bytes) => new globalThis.TextDecoder().decode(bytes);
