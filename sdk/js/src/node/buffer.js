import '../globals/base64.js';
import { Blob, File } from '../fetch/blob.js';
import { Buffer, constants, kMaxLength, SlowBuffer } from '../globals/buffer.js';
import { fromUtf8 } from '../fetch/utf8.js';

const { atob, btoa } = globalThis;
const isUtf8 = (bytes) => !fromUtf8(bytes).includes('\ufffd');
const isAscii = (bytes) => new Uint8Array(bytes.buffer ?? bytes).every((byte) => byte < 0x80);
const INSPECT_MAX_BYTES = 50;
const kStringMaxLength = constants.MAX_STRING_LENGTH;

export { atob, Blob, btoa, Buffer, constants, File, INSPECT_MAX_BYTES, isAscii, isUtf8, kMaxLength, kStringMaxLength, SlowBuffer };
export default {
  atob, Blob, btoa, Buffer, constants, File, INSPECT_MAX_BYTES, isAscii, isUtf8, kMaxLength, kStringMaxLength, SlowBuffer,
};
