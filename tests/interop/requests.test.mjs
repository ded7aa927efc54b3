// What `toril_sdk::http` sends, and what it makes of answers, against a real server.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { createServer as createRawServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { eventually, processor, served, startRedis, toril } from './harness.mjs';

const BYTES = 3_000_000;
let redis;
let server;
/** What the server got, by the path with which the request began. */
const got = [];

/** Answers with the request: method, headers that matter, and the number of bytes. */
async function echo(request, response) {
  const { method, url, headers } = request;
  let bytes = 0;
  // A test may break a request off.
  request.on('error', () => {});
  request.on('data', (chunk) => (bytes += chunk.length));
  await once(request, 'end');
  response.setHeader('content-type', 'application/json');
  const { authorization, 'content-type': type, 'content-length': length, 'transfer-encoding': encoding } = headers;
  response.end(JSON.stringify({ method, url, bytes, authorization, type, length, encoding }));
}

const answers = {
  echo,
  status: (request, response, [status]) => response.writeHead(Number(status)).end('{}'),
  redirect(request, response, [status, ...path]) {
    request.resume();
    response.writeHead(Number(status), { location: `/${path.join('/')}` }).end('elsewhere');
  },
  loop: (request, response) => response.writeHead(302, { location: '?again' }).end(),
  other: (request, response, [port]) => response.writeHead(307, { location: `http://127.0.0.1:${port}/echo` }).end(),
  async large(request, response) {
    for (let left = BYTES; left > 0; left -= 50_000) {
      if (!response.write(Buffer.alloc(Math.min(left, 50_000), 'a'))) await once(response, 'drain');
    }
    response.end();
  },
  silent: () => {},
  stalls: (request, response) => response.write('[1,'),
  cut(request, response) {
    response.writeHead(200, { 'content-length': 100 });
    response.write('half', () => response.socket.destroy());
  },
  nothing: (request, response) => response.socket.destroy(),
  nonsense: (request, response) => response.socket.end('nonsense\r\n\r\n'),
  early: (request, response) => response.writeHead(413).end('too much'),
};

before(async () => {
  redis = await startRedis();
  server = createServer((request, response) => {
    const [kind, ...rest] = request.url.split('?')[0].split('/').slice(1);
    got.push(`${request.method} ${request.url}`);
    Promise.resolve(answers[kind](request, response, rest)).catch(() => response.destroy());
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
});
after(async () => {
  server.closeAllConnections();
  server.close();
  await redis.stop();
});

const at = (path) => `http://127.0.0.1:${server.address().port}/${path}`;

function withGuest(body, http = {}) {
  const hosts = [`127.0.0.1:${server.address().port}`];
  const section = { processor: processor('fixture-requests'), grants: { http: { hosts, requests_max: 20, ...http } } };
  return served(redis, section, ['requests'], ({ run, queue, finished, host }) => {
    const ask = async (name, data) => {
      const { text, ...answer } = await run(name, data);
      return { ...answer, ...(text?.startsWith('{') ? JSON.parse(text) : { text }) };
    };
    return body({ ask, run, queue, finished, host });
  });
}

test('requests arrive as they were written', () => withGuest(async ({ ask, run }) => {
  const headers = [['authorization', 'Bearer x']];
  const plain = await ask('get', { url: at('echo?q=1#part'), headers });
  assert.equal(plain.status, 200);
  const { method, url, bytes, authorization, encoding, length } = plain;
  assert.deepEqual({ method, url, bytes, authorization, encoding, length },
    { method: 'GET', url: '/echo?q=1', bytes: 0, authorization: 'Bearer x', encoding: undefined, length: undefined });
  const posted = await ask('post', { url: at('echo') });
  assert.equal(posted.length, String(Buffer.byteLength('{"paint":"ü"}')));
  assert.equal(posted.type, 'application/json');
  const empty = await ask('empty', { url: at('echo') });
  assert.deepEqual([empty.method, empty.length, empty.bytes], ['POST', '0', 0]);
  assert.equal((await ask('timeout', { url: at('echo?a'), ms: 20_000 })).url, '/echo?a&q=a%20b');
  assert.deepEqual(await run('strict', { url: at('status/200') }), {});
}));

test('bodies of any size go both ways', () => withGuest(async ({ ask, run }) => {
  assert.equal((await ask('large', { url: at('echo'), bytes: BYTES })).length, String(BYTES));
  const streamed = await ask('upload', { url: at('echo'), bytes: BYTES });
  assert.deepEqual([streamed.bytes, streamed.encoding], [BYTES, 'chunked']);
  assert.deepEqual(await run('download', { url: at('large') }), { count: BYTES, sum: BYTES * 'a'.charCodeAt(0) });
  assert.equal((await ask('get', { url: at('large') })).text.length, BYTES);
}));

test('redirects are followed as browsers follow them', () => withGuest(async ({ ask, run }) => {
  for (const [name, status, method, bytes] of [
    ['get', 301, 'GET', 0], ['post', 302, 'GET', 0], ['post', 303, 'GET', 0], ['post', 307, 'POST', 14], ['post', 308, 'POST', 14],
  ]) {
    const answer = await ask(name, { url: at(`redirect/${status}/echo`), headers: [['authorization', 'Bearer x']] });
    assert.deepEqual([answer.method, answer.bytes, answer.authorization], [method, bytes, 'Bearer x'], `${name} ${status}`);
  }
  await assert.rejects(run('get', { url: at('loop') }), { message: `GET ${at('loop')}: gave up after 10 redirects` });
  assert.equal(got.filter((request) => request.startsWith('GET /loop')).length, 11);
  assert.equal((await ask('upload', { url: at('redirect/303/echo'), bytes: 10 })).method, 'GET');
  await assert.rejects(run('upload', { url: at('redirect/307/echo'), bytes: 10 }), /the body cannot be sent again/);
}));

test('each redirect is judged by the host, and credentials go to no other server', async () => {
  const other = createServer(echo).listen(0, '127.0.0.1');
  await once(other, 'listening');
  const [own, theirs] = [server, other].map((of) => `127.0.0.1:${of.address().port}`);
  const there = { url: at(`other/${other.address().port}`), headers: [['authorization', 'Bearer x']] };
  await withGuest(({ run }) => assert.rejects(run('get', there), /refused/));
  await withGuest(async ({ ask }) => {
    const answer = await ask('get', there);
    assert.deepEqual([answer.status, answer.authorization], [200, undefined]);
  }, { hosts: [own, theirs] });
  other.closeAllConnections();
  other.close();
});

test('failures say which request failed and why', () => withGuest(async ({ ask, run }) => {
  const failing = [
    ['get', 'http://10.0.0.1/x', /refused.*grants\.http\.hosts/],
    ['get', 'ftp://a.example/', /URL `ftp:\/\/a\.example\/` is invalid/],
    ['strict', at('status/404?token=secret'), /^GET http:\/\/127\.0\.0\.1:\d+\/status\/404: 404 Not Found$/],
    ['strict', at('early'), /413/],
    ['get', at('cut'), /\/cut: the connection broke off$/],
    ['download', at('cut'), /\/cut: the connection broke off$/],
    ['timeout', at('silent'), /\/silent: the server did not answer in time$/],
    ['timeout', at('stalls'), /\/stalls: the server did not answer in time$/],
  ];
  for (const [name, url, message] of failing) await assert.rejects(run(name, { url, ms: 100 }), { message }, `${name} ${url}`);
  const headers = [['transfer-encoding', 'gzip']];
  await assert.rejects(run('get', { url: at('echo'), headers }), /header `transfer-encoding` is set by the host/);
  await assert.rejects(run('large', { url: at('echo'), bytes: 9_000_000 }), /the request has more than 8388608 bytes/);
}));

test('limits of the host are named, also while a body is read', () => withGuest(async ({ run, host }) => {
  for (const name of ['get', 'download']) {
    const tooLarge = /\/large: the response has more than 100000 bytes \(`grants\.http\.response_bytes_max`\)$/;
    await assert.rejects(run(name, { url: at('large') }), { message: tooLarge }, name);
    await assert.rejects(run(name, { url: at('cut') }), { message: /\/cut: the connection broke off$/ }, name);
    await assert.rejects(run(name, { url: at('nothing') }), { message: /\/nothing: the connection broke off$/ }, name);
    await assert.rejects(run(name, { url: at('nonsense') }), { message: /\/nonsense: HTTP protocol error$/i }, name);
  }
  const noted = () => [...host.log().matchAll(/request to [^ ]+ (failed|was refused): [^]*? queue="requests" job_id="\d+"/g)];
  await eventually('each failure is in the log', () => noted().length === 8);
  assert.match(host.log(), /the response has more than 100000 bytes, the limit in grants\.http\.response_bytes_max of queue requests/);
  assert.doesNotMatch(host.log(), / WARN .*(hyper|connect|tls) error/);
}, { response_bytes_max: 100_000 }));

test('requests end with the time of the grant, also while a body is read', () => withGuest(async ({ run, host }) => {
  for (const name of ['get', 'download']) {
    const late = /\/stalls: the server did not answer in time$/;
    await assert.rejects(run(name, { url: at('stalls') }), { message: late }, name);
  }
  // A timeout of the grant is in the reason of the job alone.
  assert.doesNotMatch(host.log(), /request to [^ ]+ (failed|was refused): /);
}, { timeout_ms: 300 }));

test('a script learns why a response breaks off', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'toril-requests-'));
  const file = join(dir, 'requests.ts');
  await writeFile(file, `export default async (job: { data: string }) => {
    const response = await fetch(job.data);
    return response.text().catch((error) => [error.message, error.cause?.message, error.cause?.code]);
  };\n`);
  const hosts = [`127.0.0.1:${server.address().port}`];
  const said = (paths, grant) => {
    const section = { processor: file, grants: { http: { hosts, ...grant } } };
    return served(redis, section, ['scripts'], async ({ run }) => {
      const all = {};
      for (const path of paths) all[path] = await run(path, at(path));
      return all;
    }, 120_000);
  };
  assert.deepEqual(await said(['large', 'cut'], { response_bytes_max: 100_000 }), {
    large: ['fetch failed', 'the response has more than 100000 bytes (`grants.http.response_bytes_max`)', 'http-response-body-size'],
    cut: ['fetch failed', 'http response incomplete', 'http-response-incomplete'],
  });
  // Its time is that of every request of a queue.
  assert.deepEqual(await said(['stalls'], { timeout_ms: 300 }), { stalls: ['fetch failed', 'http response timeout', 'http-response-timeout'] });
  await rm(dir, { recursive: true });
});

test('server that answers early is heard, whatever was left to send', async () => {
  const answer = 'HTTP/1.1 413 Payload Too Large\r\ncontent-length: 8\r\n\r\ntoo much';
  // This one reads no further: the rest of the body has no room.
  const deaf = createRawServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', () => socket.pause().write(answer));
  }).listen(0, '127.0.0.1');
  await once(deaf, 'listening');
  const [own, theirs] = [server, deaf].map((of) => `127.0.0.1:${of.address().port}`);
  await withGuest(async ({ ask }) => {
    for (const name of ['large', 'upload']) {
      for (const host of [own, theirs]) {
        const { status, text } = await ask(name, { url: `http://${host}/early`, bytes: 2 * BYTES });
        assert.deepEqual([status, text], [413, 'too much'], `${name} ${host}`);
      }
    }
  }, { hosts: [own, theirs] });
  deaf.close();
});

test('special exits count below a context', () => withGuest(async ({ queue, finished }) => {
  const job = await queue.add('wrapped', { url: at('status/402') }, { attempts: 5 });
  await assert.rejects(finished(job), { message: 'failed to charge' });
  const stored = await queue.getJob(job.id);
  assert.deepEqual([stored.attemptsMade, stored.failedReason], [1, 'failed to charge']);
  assert.match(stored.stacktrace[0], /caused by: card expired/);
}));

test('component that sends no request does not import wasi:http', async () => {
  const shown = (crate) => promisify(execFile)(toril, ['check', processor(crate)]);
  assert.doesNotMatch((await shown('fixture-noop')).stdout, /wasi:http/);
  await assert.rejects(shown('fixture-requests'), ({ stdout, stderr }) => /wasi:http/.test(stdout + stderr));
});
