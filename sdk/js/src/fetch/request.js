// `Request`.
import { AbortSignal } from '../events/abort.js';
import { parse, toText } from './address.js';
import { Body, extract, give } from './body.js';
import { Headers } from './headers.js';

const METHODS = ['DELETE', 'GET', 'HEAD', 'OPTIONS', 'POST', 'PUT'];
const WITHOUT_BODY = ['GET', 'HEAD'];
/** Options that say how browsers fetch; they are kept for those who look. */
const DEFAULTS = {
  cache: 'default', credentials: 'same-origin', destination: '', integrity: '', keepalive: false, mode: 'cors',
  redirect: 'follow', referrer: 'about:client', referrerPolicy: '', duplex: 'half',
};

function methodOf(method) {
  const upper = String(method).toUpperCase();
  if (!/^[!#$%&'*+\-.^_`|~\dA-Z]+$/.test(upper)) throw new TypeError(`'${method}' is not a valid HTTP method.`);
  return METHODS.includes(upper) ? upper : String(method);
}

export class Request extends Body {
  constructor(input, init = {}) {
    const before = input instanceof Request ? input : undefined;
    const method = methodOf(init.method ?? before?.method ?? 'GET');
    const given = init.body ?? undefined;
    if (given !== undefined && WITHOUT_BODY.includes(method)) {
      throw new TypeError('Request with GET/HEAD method cannot have body.');
    }
    const source = given === undefined && before ? before.taken() : extract(given);
    super(source);
    const address = parse(before ? before.url : (input?.href ?? input));
    this.method = method;
    this.url = toText(address);
    this.headers = new Headers(init.headers ?? before?.headers);
    this.signal = init.signal ?? before?.signal ?? new AbortSignal();
    for (const [name, otherwise] of Object.entries(DEFAULTS)) this[name] = init[name] ?? before?.[name] ?? otherwise;
    if (source.type && !this.headers.has('content-type')) this.headers.set('content-type', source.type);
  }

  /** The body for a request that is made from this one. */
  taken() {
    return this.copied();
  }

  clone() {
    const source = this.copied();
    const copy = new Request(this.url, { ...this, headers: this.headers, method: this.method, body: undefined });
    give(copy, source);
    return copy;
  }

  get [Symbol.toStringTag]() {
    return 'Request';
  }
}
