// `fetch` over the host's requests.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bundled, load, result } from './stand-in.mjs';

/** Answers requests with the values of `answer`; a body is a list of chunks. */
function hostHttp(answer, seen = []) {
  return (request) => {
    seen.push({ ...request, headers: structuredClone(request.headers), body: request.body && Buffer.from(request.body).toString() });
    let fail;
    const aborted = new Promise((_, reject) => (fail = reject));
    aborted.catch(() => {});
    const respond = async () => {
      const { status = 200, headers = [], chunks = [] } = await answer(request, seen.length);
      const left = chunks.map((chunk) => new TextEncoder().encode(chunk).buffer);
      const body = { read: async () => left.shift(), cancel: () => (left.length = 0) };
      return { status, headers, body };
    };
    return { response: Promise.race([respond(), aborted]), abort: () => fail(new Error('aborted by the host')) };
  };
}

const fetched = async (body, answer) => {
  const seen = [];
  return { value: await result(body, { http: hostHttp(answer, seen) }), seen };
};

test('a request reaches the host without the headers of a connection', async () => {
  const { value, seen } = await fetched(
    `const r = await fetch('https://Example.com:443/a/../b c?q=ä#h', { method: 'post', headers: { Host: 'x', 'Content-Length': '9', 'X-A': ' 1 ' }, body: JSON.stringify({ a: 1 }) });
     return [r.status, r.statusText, r.ok, r.url, r.headers.get('x-b'), await r.json(), r.bodyUsed, await r.text().catch((e) => e.name)]`,
    () => ({ status: 201, headers: [['X-B', '2']], chunks: ['{"b"', ':2}'] }),
  );
  assert.deepEqual(value, [201, 'Created', true, 'https://example.com/b%20c?q=%C3%A4', '2', { b: 2 }, true, 'TypeError']);
  assert.deepEqual(seen, [{
    method: 'POST', scheme: 'https', authority: 'example.com', pathWithQuery: '/b%20c?q=%C3%A4', body: '{"a":1}',
    headers: [['content-type', 'text/plain;charset=UTF-8'], ['x-a', '1'], ['accept', '*/*'], ['accept-encoding', 'gzip, deflate'], ['user-agent', 'toril']],
  }]);
});

test('bodies of all kinds are sent', async () => {
  const body = `const form = new FormData(); form.append('a', '1'); form.append('f', new File(['x'], 'f.txt', { type: 'text/plain' }));
    for (const body of [new URLSearchParams({ a: '1' }), new Uint8Array([65]), new Blob(['b'], { type: 'text/x' }), form, new ReadableStream({ start(c) { c.enqueue(new Uint8Array([66])); c.close(); } })]) await fetch('http://x/', { method: 'PUT', body, duplex: 'half' });`;
  const { seen } = await fetched(`${body} return null`, () => ({}));
  const types = seen.map(({ headers }) => headers.find(([name]) => name === 'content-type')?.[1]);
  assert.deepEqual(types.map((type) => type?.split(';')[0]), [
    'application/x-www-form-urlencoded', undefined, 'text/x', 'multipart/form-data', undefined,
  ]);
  assert.deepEqual([seen[0].body, seen[1].body, seen[2].body, seen[4].body], ['a=1', 'A', 'b', 'B']);
  assert.match(seen[3].body, /name="a"\r\n\r\n1\r\n[^]*filename="f.txt"\r\nContent-Type: text\/plain\r\n\r\nx\r\n/);
});

test('answers are read as bytes, text, streams and copies', async () => {
  const { value } = await fetched(
    `const get = () => fetch('http://x/');
     const bytes = [...new Uint8Array(await (await get()).arrayBuffer())];
     const response = await get(); const copy = response.clone(); const texts = await Promise.all([response.text(), copy.text()]);
     const streamed = []; for await (const chunk of (await get()).body) streamed.push(chunk.length);
     const reader = (await get()).body.getReader(); const { value } = await reader.read(); await reader.cancel();
     const blob = await (await get()).blob();
     return [bytes, texts, streamed, value.length, blob.size, await new Response('own').text(), Response.json({ a: 1 }).headers.get('content-type')]`,
    () => ({ chunks: ['ab', 'c'] }),
  );
  assert.deepEqual(value, [[97, 98, 99], ['abc', 'abc'], [2, 1], 2, 3, 'own', 'application/json']);
});

test('redirects are followed as the standard says', async () => {
  const { value, seen } = await fetched(
    `const r = await fetch('http://a/x/y', { method: 'POST', body: 'b', headers: { authorization: 's', 'content-type': 't' } });
     const manual = await fetch('http://a/x/y', { redirect: 'manual' });
     const refused = await fetch('http://a/x/y', { redirect: 'error' }).catch((e) => e.message + ': ' + e.cause.message);
     return [r.url, r.redirected, manual.status, refused]`,
    ({ authority }) => (authority === 'a' ? { status: 302, headers: [['location', '//b/../z?q']] } : {}),
  );
  assert.deepEqual(value, ['http://b/z?q', true, 302, 'fetch failed: unexpected redirect']);
  const { method, headers, body } = seen[1];
  assert.deepEqual([method, body, headers.map(([name]) => name)], ['GET', undefined, ['accept', 'accept-encoding', 'user-agent']]);
});

test('a signal stops a request, and the reading of its answer', async () => {
  const { value } = await fetched(
    `const c = new AbortController(); setTimeout(() => c.abort(new Error('too slow')), 5);
     const first = await fetch('http://x/slow', { signal: c.signal }).catch((e) => e.message);
     const again = await fetch('http://x/', { signal: c.signal }).catch((e) => e.message);
     const timed = await fetch('http://x/slow', { signal: AbortSignal.timeout(5) }).catch((e) => e.name);
     const failed = await fetch('http://x/fails').catch((e) => [e.name, e.message, e.cause.message]);
     const invalid = await fetch('nowhere').catch((e) => e.message);
     return [first, again, timed, failed, invalid]`,
    ({ pathWithQuery }) => {
      if (pathWithQuery === '/slow') return new Promise(() => {});
      if (pathWithQuery === '/fails') throw new Error('connection refused');
      return {};
    },
  );
  assert.deepEqual(value, ['too slow', 'too slow', 'TimeoutError', ['TypeError', 'fetch failed', 'connection refused'], 'Failed to parse URL from nowhere']);
});

test('other schemes are refused with what to do instead', async () => {
  const failed = async (url) => (await fetched(`return fetch(${JSON.stringify(url)}).catch((e) => [e.name, e.message, e.cause?.message])`)).value;
  const message = (scheme, advice) => ['TypeError', 'fetch failed', `a processor fetches \`http:\` and \`https:\` alone, not \`${scheme}:\`${advice}`];
  assert.deepEqual(await failed('data:text/plain,hi'), message('data', '; decode what stands behind the comma instead'));
  assert.deepEqual(await failed('ftp://x/'), message('ftp', ''));
});

test('the job\'s signal stops requests', async () => {
  let asked = 0;
  const { script } = await bundled("export default async (job: any, token: any, signal: any) => (await fetch('http://x/', { signal })).status;");
  const http = hostHttp(() => new Promise(() => {}));
  const { run } = load(script, { http, 'job.isCancelled': () => (asked += 1) > 2, 'job.cancelReason': 'not needed any more' });
  assert.equal((await run()).failure.message, 'not needed any more');
});
