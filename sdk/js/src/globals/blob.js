// `Blob`, `File` and `FormData`.
import { Blob, File } from '../fetch/blob.js';
import { FormData } from '../fetch/form-data.js';

Object.assign(globalThis, { Blob, File, FormData });
