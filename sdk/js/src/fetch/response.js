// `Response`.
import { Body, extract, give } from './body.js';
import { Headers } from './headers.js';

const WITHOUT_BODY = [101, 204, 205, 304];
const REDIRECTS = [301, 302, 303, 307, 308];

export class Response extends Body {
  constructor(body, { status = 200, statusText = '', headers } = {}) {
    if (!Number.isInteger(status) || status < 200 || status > 599) {
      throw new RangeError('init["status"] must be in the range of 200 to 599, inclusive.');
    }
    if (body !== undefined && body !== null && WITHOUT_BODY.includes(status)) {
      throw new TypeError(`Response constructor: Invalid response status code ${status}`);
    }
    const source = extract(body);
    super(source);
    Object.assign(this, { status, statusText: String(statusText), headers: new Headers(headers) });
    Object.assign(this, { type: 'default', url: '', redirected: false });
    if (source.type && !this.headers.has('content-type')) this.headers.set('content-type', source.type);
  }

  get ok() {
    return this.status >= 200 && this.status <= 299;
  }

  clone() {
    const copy = new Response(null, { status: this.status, statusText: this.statusText, headers: this.headers });
    const { type, url, redirected } = this;
    Object.assign(copy, { type, url, redirected });
    give(copy, this.copied());
    return copy;
  }

  static json(data, init = {}) {
    const headers = new Headers(init.headers);
    if (!headers.has('content-type')) headers.set('content-type', 'application/json');
    return new Response(JSON.stringify(data), { ...init, headers });
  }

  static redirect(url, status = 302) {
    if (!REDIRECTS.includes(status)) throw new RangeError(`Invalid status code ${status}`);
    return new Response(null, { status, headers: { location: String(url) } });
  }

  static error() {
    const response = new Response(null, { status: 200 });
    return Object.assign(response, { status: 0, type: 'error' });
  }

  get [Symbol.toStringTag]() {
    return 'Response';
  }
}
