// Each package is bundled without a warning, and returns what it returns in Node itself. Here it runs in the SDK's stand-in
// for the engine.
import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { bundle } from '../../sdk/js/bundle/index.mjs';
import { load } from '../../sdk/js/test/stand-in.mjs';
import { inNode } from './in-node.mjs';
import { startServer } from './server.mjs';

const dir = new URL('processors/', import.meta.url).pathname;
let server;
before(async () => {
  server = await startServer();
});
after(() => server.stop());

/** The host's requests, by Node's `fetch`. */
function http({ method, scheme, authority, pathWithQuery, headers, body }) {
  const stop = new AbortController();
  const response = async () => {
    const url = `${scheme}://${authority}${pathWithQuery}`;
    const answer = await fetch(url, { method, headers: [...headers].map((pair) => [...pair]), body: body && new Uint8Array(body), redirect: 'manual', signal: stop.signal });
    const reader = answer.body?.getReader();
    const read = async () => {
      const { done, value } = (await reader?.read()) ?? { done: true };
      return done ? undefined : value.slice().buffer;
    };
    return { status: answer.status, headers: [...answer.headers], body: { read, cancel: () => void reader?.cancel() } };
  };
  return { response: response(), abort: () => stop.abort() };
}

for (const file of (await readdir(dir)).sort()) {
  test(`${file.replace(/\.ts$/, '')} works`, async () => {
    const data = { url: server.url };
    const { script, warnings } = await bundle(join(dir, file));
    assert.deepEqual(warnings, []);
    const { run, warmup } = load(script, { 'job.data': JSON.stringify(data), http });
    await warmup?.();
    const { ok, failure } = await run();
    assert.equal(failure, undefined, failure?.stack);
    assert.deepEqual(JSON.parse(ok), await inNode(join(dir, file), data));
  });
}
