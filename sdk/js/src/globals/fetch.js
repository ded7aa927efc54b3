// `fetch` and what belongs to it.
import { Blob, File } from '../fetch/blob.js';
import { fetch } from '../fetch/fetch.js';
import { FormData } from '../fetch/form-data.js';
import { Headers } from '../fetch/headers.js';
import { Request } from '../fetch/request.js';
import { Response } from '../fetch/response.js';

Object.assign(globalThis, { Blob, fetch, File, FormData, Headers, Request, Response });
