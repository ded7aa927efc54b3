// Node's own modules: those that the SDK has, and why the others are not available.

/** Modules that there are: the file in src/node. */
export const SUPPORTED = {
  assert: 'assert',
  'assert/strict': 'assert-strict',
  buffer: 'buffer',
  console: 'console',
  crypto: 'crypto',
  diagnostics_channel: 'diagnostics-channel',
  events: 'events',
  os: 'os',
  path: 'path',
  'path/posix': 'path',
  perf_hooks: 'perf-hooks',
  process: 'process',
  punycode: 'punycode',
  querystring: 'querystring',
  stream: 'stream',
  'stream/promises': 'stream-promises',
  'stream/web': 'stream-web',
  string_decoder: 'string-decoder',
  timers: 'timers',
  'timers/promises': 'timers-promises',
  tty: 'tty',
  url: 'url',
  util: 'util',
  sys: 'util',
  'util/types': 'util-types-module',
};

/** A processor's own file is refused them; packages that carry something along get what is there. */
export const FOR_PACKAGES = { async_hooks: 'async-hooks' };

const FILES =
  'a processor has no file system of Node; import what it needs (`import template from \'./template.html\'`, `import data from \'./data.json\'`)';
const SOCKETS =
  'a processor opens no connections of its own; use `fetch`, which the grant `http` allows, or a service that speaks HTTP';
const PROCESSES = 'a processor starts neither processes nor threads; add a job to another queue instead';
const NO_HTTP = 'a processor makes requests with `fetch` (grant `http`); axios, ky and the like do so by themselves';

/** Why, and what to do. */
export const REFUSED = {
  async_hooks: 'the engine does not tell which promise continues which; hand values on as arguments',
  child_process: PROCESSES,
  cluster: PROCESSES,
  dgram: SOCKETS,
  dns: 'the host looks names up; use `fetch`',
  'dns/promises': 'the host looks names up; use `fetch`',
  domain: 'errors are caught with `try`',
  fs: FILES,
  'fs/promises': FILES,
  http: NO_HTTP,
  http2: NO_HTTP,
  https: NO_HTTP,
  inspector: 'a processor is watched through the host\'s log',
  'inspector/promises': 'a processor is watched through the host\'s log',
  module: 'modules are bundled when the processor is built; use `import`',
  net: SOCKETS,
  readline: 'a processor has no input',
  'readline/promises': 'a processor has no input',
  repl: 'a processor has no input',
  sea: 'a processor is no program of its own',
  sqlite: 'a processor has no file system of Node; a service that speaks HTTP can keep the data',
  test: 'tests run outside of processors',
  tls: SOCKETS,
  trace_events: 'a processor is watched through the host\'s log',
  v8: 'the engine is QuickJS',
  vm: 'the engine evaluates one script; import modules instead',
  wasi: 'a processor is a component itself; write a processor in the other language, and let jobs go between them',
  worker_threads: PROCESSES,
  zlib: 'the engine has no compression; `fflate` or `pako` have it in JavaScript alone',
};

/** Modules without which a package that imports them has nothing to do here. */
export const CONNECTIONS = ['net', 'tls', 'dgram'];

/** Names of `crypto` that need RSA, elliptic curves or ciphers. */
export const CRYPTO_REFUSED = [
  'createCipheriv', 'createDecipheriv', 'createDiffieHellman', 'createECDH', 'createPrivateKey', 'createPublicKey',
  'createSign', 'createVerify', 'diffieHellman', 'generateKeyPair', 'generateKeyPairSync', 'privateDecrypt',
  'privateEncrypt', 'publicDecrypt', 'publicEncrypt', 'sign', 'verify', 'X509Certificate',
];
export const CRYPTO_ADVICE =
  'RSA, elliptic curves and ciphers are not in the engine; @noble/curves, @noble/ciphers and node-forge have them in JavaScript alone';

export const bareName = (path) => path.replace(/^node:/, '');
