// Globals and Node's modules, as processors and their packages use them.
import nodeAssert from 'node:assert';
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loaded, result } from './stand-in.mjs';

test('console writes to the host\'s log as Node formats', async () => {
  const { run, lines } = await loaded(`export default async () => {
    console.log('plain'); console.log('%s is %d', 'x', 5, { a: [1, { b: { c: {} } }] }); console.info(new Map([[1, { a: 1 }]]), [undefined, null]);
    console.warn('careful'); console.error(new TypeError('bad').message); console.debug('%j', { a: 1 }); console.assert(false, 'no');
    console.group('in'); console.log('two\\nlines'); console.groupEnd(); console.count(); console.log();
  };`);
  await run();
  assert.deepEqual(lines(), [
    ['info', 'plain'], ['info', "x is 5 { a: [ 1, { b: [Object] } ] }"], ['info', 'Map(1) { 1 => { a: 1 } } [ undefined, null ]'],
    ['warn', 'careful'], ['error', 'bad'], ['debug', '{"a":1}'], ['error', 'Assertion failed: no'], ['info', 'in'],
    ['info', '  two\n  lines'], ['info', 'default: 1'], ['info', ''],
  ]);
});

test('assertions fail in Node\'s words', async () => {
  const failing = [
    'assert.equal(1, 2)', 'assert.notEqual(1, 1)', "assert.strictEqual('a', 'b')", 'assert.strictEqual([1, 2].length, 3)', 'assert.notStrictEqual(1, 1)',
    'assert.deepStrictEqual({ a: 1, b: 2 }, { a: 1, b: 3, c: 4 })', 'assert.deepEqual([1], [2])', "assert.match('a', /b/)", "assert.doesNotMatch('a', /a/)",
    "assert.equal(1, 2, 'mine')", 'assert.fail()', 'assert.throws(() => {})', 'assert.strictEqual({}, 1)', 'assert.strictEqual({ a: 1 }, { a: 1 })',
  ];
  const body = `const said = {};
    for (const [code, fails] of Object.entries({ ${failing.map((code) => `${JSON.stringify(code)}: () => ${code}`).join(', ')} })) {
      try { (fails as any)(); } catch (error: any) { said[code] = [error.name, error.code, error.message]; }
    }
    return said;`;
  const theirs = new Function('assert', body.replace(/ as any|: any/g, ''))(nodeAssert);
  assert.deepEqual(await result(body.replace('const said', 'const said: any'), {}, "import assert from 'assert';"), theirs);
});

test('process.env is the environment of the grants, when an attempt asks', async () => {
  const { run } = await loaded(
    `const early = process.env.KEY;
     export default async () => { process.env.MORE = 5 as any; const { KEY } = process.env; return [early ?? null, KEY, process.env.MORE, 'NO' in process.env, Object.keys(process.env), { ...process.env }]; };`,
    { environment: { KEY: 'k' } },
  );
  assert.deepEqual(JSON.parse((await run()).ok), [null, 'k', '5', false, ['KEY', 'MORE'], { KEY: 'k', MORE: '5' }]);
});

test('process is there for packages, and cannot be ended', async () => {
  assert.deepEqual(
    await result(`let refused; try { process.exit(1) } catch (e) { refused = e.message }
      const order = []; await new Promise((done) => { setImmediate(() => done(order.push('immediate'))); process.nextTick((x) => order.push(x), 'tick'); order.push('now'); });
      process.stdout.write('a'); process.stdout.write('b\\n'); process.on('SIGTERM', () => {}).once('x', () => {});
      return [order, refused, typeof process.hrtime.bigint(), process.cwd()]`),
    [['now', 'tick', 'immediate'], '`process.exit()` is not available in a processor: return from the processor, or throw an error', 'bigint', '/'],
  );
});

test('Buffer is Node\'s, base64url included', async () => {
  const body = `const b = Buffer.from('héllo?>', 'utf8');
    return [b.toString('hex'), b.toString('base64'), b.toString('base64url'), Buffer.from(b.toString('base64url'), 'base64url').equals(b), Buffer.concat([b, Buffer.alloc(2, 'a')]).length, Buffer.byteLength('é'), Buffer.isBuffer(b), JSON.stringify(Buffer.from([1])), b.subarray(0, 1).toString(), b.readUInt16BE(0)]`;
  const b = Buffer.from('héllo?>', 'utf8');
  assert.deepEqual(await result(body), [
    b.toString('hex'), b.toString('base64'), b.toString('base64url'), true, b.length + 2, 2, true, '{"type":"Buffer","data":[1]}', 'h', b.readUInt16BE(0),
  ]);
});

test('texts are encoded and decoded', async () => {
  const body = `const bytes = new TextEncoder().encode('aé€😀\\ud800'); const d = new TextDecoder();
    const parts = [d.decode(bytes.slice(0, 4), { stream: true }), d.decode(bytes.slice(4, 8), { stream: true }), d.decode(bytes.slice(8))];
    const refuses = (f) => { try { f(); return false } catch (e) { return e.name } };
    return [[...bytes], parts.join(''), new TextDecoder().decode(new Uint8Array([0xef, 0xbb, 0xbf, 65, 0xe2, 0x82, 66, 0xed, 0xa0, 0x80])), refuses(() => new TextDecoder('utf-8', { fatal: true }).decode(new Uint8Array([0xff]))), refuses(() => new TextDecoder('ebcdic')), new TextDecoder('latin1').decode(new Uint8Array([0xe9, 0x80])), new TextDecoder('utf-16le').decode(new Uint8Array([0x3d, 0xd8, 0, 0xde])), atob(btoa('\\xff\\x00a')).length, new TextEncoder().encodeInto('é€', new Uint8Array(3))]`;
  const d = new TextDecoder();
  assert.deepEqual(await result(body), [
    [...new TextEncoder().encode('aé€😀\ud800')], 'aé€😀\ufffd', d.decode(new Uint8Array([0xef, 0xbb, 0xbf, 65, 0xe2, 0x82, 66, 0xed, 0xa0, 0x80])),
    'TypeError', 'RangeError', 'é€', '😀', 3, { read: 1, written: 2 },
  ]);
});

test('URLs are parsed', async () => {
  const body = `const u = new URL('../b?x=1#h', 'https://user@EXAMPLE.com:443/a/c/'); u.searchParams.append('y', 'ä b');
    return [u.href, u.host, u.searchParams.getAll('y'), new URLSearchParams({ a: '1' }).toString(), URL.canParse('no')]`;
  const u = new URL('../b?x=1#h', 'https://user@EXAMPLE.com:443/a/c/');
  u.searchParams.append('y', 'ä b');
  assert.deepEqual(await result(body), [u.href, u.host, ['ä b'], 'a=1', false]);
});

test('crypto has random numbers, digests and HMAC', async () => {
  const body = `const bytes = new TextEncoder().encode('text'); const hex = (b) => Buffer.from(b).toString('hex');
    const key = await crypto.subtle.importKey('raw', bytes, { name: 'HMAC', hash: 'SHA-256' }, true, ['sign', 'verify']);
    const signature = await crypto.subtle.sign('HMAC', key, bytes);
    const ids = new Set(Array.from({ length: 100 }, () => crypto.randomUUID()));
    return [hex(await crypto.subtle.digest('SHA-512', bytes)), hex(signature), await crypto.subtle.verify('HMAC', key, signature, bytes), await crypto.subtle.verify('HMAC', key, signature, bytes.slice(1)), ids.size, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab]/.test([...ids][0]), crypto.getRandomValues(new Uint32Array(4)).some((n) => n > 0), (await crypto.subtle.exportKey('jwk', key)).k,
      await crypto.subtle.importKey('spki', bytes, { name: 'RSA-PSS', hash: 'SHA-256' }, true, []).catch((e) => e.name)]`;
  const bytes = new TextEncoder().encode('text');
  const hex = (b) => Buffer.from(b).toString('hex');
  const key = await crypto.subtle.importKey('raw', bytes, { name: 'HMAC', hash: 'SHA-256' }, true, ['sign', 'verify']);
  assert.deepEqual(await result(body), [
    hex(await crypto.subtle.digest('SHA-512', bytes)), hex(await crypto.subtle.sign('HMAC', key, bytes)), true, false, 100, true, true,
    (await crypto.subtle.exportKey('jwk', key)).k, 'NotSupportedError',
  ]);
});

test('random numbers are refused while a processor is built', async () => {
  for (const call of ['crypto.randomUUID()', 'crypto.getRandomValues(new Uint8Array(4))']) {
    await assert.rejects(loaded(`const id = ${call}; export default async () => id;`), /every job would get the same/);
  }
  await assert.rejects(loaded("import { randomBytes } from 'node:crypto'; const x = randomBytes(4); export default async () => x;"), /every job/);
});

test('what is no bytes is not hashed, and is no key', async () => {
  const calls = [
    "createHash('md5').update(5)", "createHash('md5').update({})", "createHash('md5').update()", "createHmac('md5', 'k').update(null)",
    "createHash('md5').update(new ArrayBuffer(1))", "createHash('md5').update([1])", "createHash('md5').update(1n)",
    "timingSafeEqual('a', 'a')", "timingSafeEqual(new Uint8Array(1), undefined)",
  ];
  const keys = ["createHmac('md5', undefined)", "createHmac('md5', null)", "createHmac('md5', 5)", "pbkdf2Sync(undefined, 's', 1, 8, 'md5')", "scryptSync('p', undefined, 8)"];
  const crypto = await import('node:crypto');
  const tried = (all) => `[${all.map((call) => `(() => { try { c.${call}; return 'hashed' } catch (e) { return [e.name, e.code, e.message] } })()`)}]`;
  const here = (all) => new Function('c', `return ${tried(all)}`)(crypto);
  assert.deepEqual(await result(`return ${tried(calls)}`, {}, "import * as c from 'node:crypto';"), here(calls));
  const start = ([name, code, message]) => [name, code, message.replace(/ArrayBuffer.*(?= Received)/, '')];
  assert.deepEqual((await result(`return ${tried(keys)}`, {}, "import * as c from 'node:crypto';")).map(start), here(keys).map(start));
});

test('an assertion that fails has the stack of one', async () => {
  const [first] = await result("try { assert.equal(1, 2) } catch (e) { return e.stack.split('\\n') }", {}, "import assert from 'node:assert';");
  assert.equal(first, 'AssertionError [ERR_ASSERTION]: 1 == 2');
});

test('node:crypto hashes as Node does', async () => {
  const { createHash, createHmac, pbkdf2Sync, scryptSync } = await import('node:crypto');
  const body = `const { createHash, createHmac, pbkdf2Sync, scryptSync, randomInt, timingSafeEqual, randomBytes } = c;
    const number = randomInt(5, 7);
    return [...['md5', 'sha1', 'sha256', 'SHA512', 'RSA-SHA256', 'ripemd160'].map((name) => createHash(name).update('a').update(Buffer.from('b')).digest('hex')), createHmac('sha256', 'k').update('a').digest('base64url'), pbkdf2Sync('p', 's', 10, 16, 'sha256').toString('hex'), scryptSync('p', 's', 16, { N: 16 }).toString('hex'), number >= 5 && number < 7, timingSafeEqual(Buffer.from('a'), Buffer.from('a')), randomBytes(5).length]`;
  const digest = (name) => createHash(name).update('a').update(Buffer.from('b')).digest('hex');
  assert.deepEqual(await result(body, {}, "import * as c from 'crypto';"), [
    ...['md5', 'sha1', 'sha256', 'SHA512', 'RSA-SHA256', 'ripemd160'].map(digest), createHmac('sha256', 'k').update('a').digest('base64url'),
    pbkdf2Sync('p', 's', 10, 16, 'sha256').toString('hex'), scryptSync('p', 's', 16, { N: 16 }).toString('hex'), true, true, 5,
  ]);
});

test('values are cloned, events dispatched, signals joined', async () => {
  const body = `const value = { d: new Date(0), m: new Map([[1, new Set([2])]]), a: new Uint8Array([1]), e: new Error('x') }; value.self = value;
    const copy = structuredClone(value); let refused; try { structuredClone(() => 1) } catch (e) { refused = e.name }
    const c = new AbortController(); const any = AbortSignal.any([c.signal, new AbortController().signal]); const seen = [];
    any.onabort = () => seen.push('on'); any.addEventListener('abort', (e) => seen.push(e.type), { once: true }); c.abort(); c.abort('again');
    return [copy.self === copy, copy.d.getTime(), copy.m.get(1).has(2), copy.a[0], copy.e.message, refused, seen, any.aborted, any.reason.name, AbortSignal.abort('why').reason]`;
  assert.deepEqual(await result(body), [true, 0, true, 1, 'x', 'DataCloneError', ['on', 'abort'], true, 'AbortError', 'why']);
});

test('Node\'s pure modules are there, by import and by require', async () => {
  const files = {
    'processor.ts': `
      import { EventEmitter, once } from 'node:events'; import path from 'path'; import * as url from 'node:url'; import qs from 'querystring';
      import util, { promisify } from 'util'; import assert from 'assert/strict'; import { Readable, Transform } from 'stream'; import { pipeline } from 'stream/promises';
      import { StringDecoder } from 'string_decoder'; import { setTimeout as sleep } from 'timers/promises'; import os from 'os'; import old from './old.cjs';
      export default async () => {
        const emitter = new EventEmitter(); setTimeout(() => emitter.emit('go', 5), 1); const [five] = await once(emitter, 'go');
        const chunks: string[] = []; const upper = new Transform({ transform(chunk, _e, done) { done(null, String(chunk).toUpperCase()); } });
        await pipeline(Readable.from(['a', 'b']), upper, async (source: any) => { for await (const chunk of source) chunks.push(String(chunk)); });
        let failed; try { assert.deepEqual({ a: 1 }, { a: 2 }); } catch (error: any) { failed = error.code; }
        await assert.rejects(async () => { throw new TypeError('x'); }, TypeError);
        return [five, chunks.join(''), path.join('a', '../b'), url.parse('http://x.y/z?q=1').query, url.fileURLToPath('file:///a%20b'), qs.stringify({ a: [1, 2] }),
          util.format('%o', 1), util.inspect({ a: 1 }), await promisify((x: number, done: any) => done(null, x))(4), failed, new StringDecoder('utf8').write(Buffer.from('é')),
          await sleep(1, 'slept'), os.EOL, util.isDeepStrictEqual([1], [1]), old];
      };`,
    'old.cjs': `const EventEmitter = require('events'); class Old extends EventEmitter {} const util = require('util'); const assert = require('assert'); assert(true); assert.equal(1, '1');
      function Older() {} util.inherits(Older, EventEmitter); const { Buffer } = require('buffer'); const stream = require('stream');
      module.exports = [new Old() instanceof EventEmitter, new Older() instanceof EventEmitter, Buffer.from('a').length, typeof stream.Readable, typeof stream];`,
  };
  const { run } = await loaded(files);
  const { ok, failure } = await run();
  assert.deepEqual(failure, undefined);
  assert.deepEqual(JSON.parse(ok), [
    5, 'AB', 'b', 'q=1', '/a b', 'a=1&a=2', '1', '{ a: 1 }', 4, 'ERR_ASSERTION', 'é', 'slept', '\n', true,
    [true, true, 1, 'function', 'function'],
  ]);
});
