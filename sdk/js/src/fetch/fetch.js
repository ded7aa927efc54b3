// `fetch` over the host's requests: the host judges each of them by the grant `http`, redirects included.
import { host } from '../host.js';
import { originOf, parse, resolve } from './address.js';
import { give } from './body.js';
import { Request } from './request.js';
import { Response } from './response.js';
import { STATUS_CODES } from './status-text.js';

const REDIRECTS = [301, 302, 303, 307, 308];
const REDIRECTS_MAX = 20;
const OF_THE_BODY = ['content-encoding', 'content-language', 'content-location', 'content-type'];
const OF_THE_ORIGIN = ['authorization', 'cookie', 'proxy-authorization'];
/** Headers that belong to the connection, which is the host's. */
const OF_THE_CONNECTION = [
  'connection', 'content-length', 'expect', 'host', 'http2-settings', 'keep-alive', 'proxy-connection', 'te',
  'transfer-encoding', 'upgrade',
];

function headersFor(request) {
  const pairs = [...request.headers].filter(([name]) => !OF_THE_CONNECTION.includes(name));
  if (!request.headers.has('accept')) pairs.push(['accept', '*/*']);
  // The engine decodes these. A part of a file is one of the file as it is.
  if (!request.headers.has('accept-encoding')) pairs.push(['accept-encoding', request.headers.has('range') ? 'identity' : 'gzip, deflate']);
  if (!request.headers.has('user-agent')) pairs.push(['user-agent', 'toril']);
  return pairs;
}

/** Calls the host. A signal aborts the request, and the reading of the answer. */
function send({ request, body }, signal) {
  const { scheme, authority, pathWithQuery } = parse(request.url);
  const { method } = request;
  const asked = host.http({ method, scheme, authority, pathWithQuery, headers: headersFor(request), body });
  // One for each wait: a promise that stays would hold all races that it was in, and each piece of a body with them.
  const waiting = new Set();
  const stop = () => {
    asked.abort();
    for (const reject of waiting) reject(signal.reason);
  };
  signal.addEventListener('abort', stop);
  const orStopped = async (work) => {
    let own;
    const stopped = new Promise((_, reject) => {
      own = reject;
      if (signal.aborted) reject(signal.reason);
    });
    waiting.add(own);
    try {
      return await Promise.race([work, stopped]);
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      throw new TypeError('fetch failed', { cause: error });
    } finally {
      waiting.delete(own);
    }
  };
  const end = () => signal.removeEventListener('abort', stop);
  return { response: orStopped(asked.response), orStopped, end };
}

/** The body of an answer: read from the host as somebody asks for it. */
function sourceOf(body, { orStopped, end }) {
  return {
    async read() {
      try {
        const chunk = await orStopped(body.read());
        if (chunk === undefined) end();
        return chunk;
      } catch (error) {
        end();
        throw error;
      }
    },
    cancel() {
      end();
      body.cancel();
    },
  };
}

function answered({ status, headers, body }, request, redirected, sent) {
  const response = new Response(null, { headers });
  const statusText = STATUS_CODES[status] ?? '';
  Object.assign(response, { status, statusText, url: request.url, redirected, type: 'basic' });
  const empty = request.method === 'HEAD' || status === 204 || status === 304 || !body;
  if (empty) {
    sent.end();
    body?.cancel();
  } else {
    give(response, sourceOf(body, sent));
  }
  return response;
}

/** The request that follows a redirect. */
function redirect({ request, body }, status, location) {
  const from = parse(request.url);
  const url = resolve(from, location);
  const toGet = status === 303 ? !['GET', 'HEAD'].includes(request.method) : status < 303 && request.method === 'POST';
  const next = new Request(url, { headers: request.headers, method: toGet ? 'GET' : request.method, redirect: request.redirect });
  if (toGet) for (const name of OF_THE_BODY) next.headers.delete(name);
  if (originOf(from) !== originOf(parse(next.url))) for (const name of OF_THE_ORIGIN) next.headers.delete(name);
  return { request: next, body: toGet ? undefined : body };
}

async function follow(first, signal) {
  let sending = first;
  for (let redirects = 0; ; redirects += 1) {
    const sent = send(sending, signal);
    let answer;
    try {
      answer = await sent.response;
    } catch (error) {
      sent.end();
      throw error;
    }
    const { status, headers, body } = answer;
    const location = REDIRECTS.includes(status) && headers.find(([name]) => name.toLowerCase() === 'location')?.[1];
    if (!location || first.request.redirect === 'manual') return answered(answer, sending.request, redirects > 0, sent);
    sent.end();
    body?.cancel();
    if (first.request.redirect === 'error') throw new TypeError('fetch failed', { cause: new Error('unexpected redirect') });
    if (redirects === REDIRECTS_MAX) throw new TypeError('fetch failed', { cause: new Error('redirect count exceeded') });
    sending = redirect(sending, status, location);
  }
}

export async function fetch(input, init) {
  const request = new Request(input, init);
  const { signal } = request;
  if (signal.aborted) throw signal.reason;
  const bytes = await request.bytes();
  const body = bytes.length ? bytes.slice().buffer : undefined;
  return follow({ request, body }, signal);
}
