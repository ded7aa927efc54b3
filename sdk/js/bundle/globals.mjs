// Which globals a bundle needs: each is a module of src/globals, and comes in if something mentions it.
import { join } from 'node:path';

/** Names that the engine has not, by the module that defines them. The order is that of evaluation. */
const MODULES = {
  process: ['process'],
  abort: ['AbortController', 'AbortSignal', 'CustomEvent', 'DOMException', 'Event', 'EventTarget'],
  encoding: ['TextDecoder', 'TextEncoder'],
  base64: ['atob', 'btoa'],
  buffer: ['Buffer'],
  url: ['URL', 'URLSearchParams'],
  streams: [
    'ByteLengthQueuingStrategy', 'CountQueuingStrategy', 'ReadableByteStreamController', 'ReadableStream',
    'ReadableStreamBYOBReader', 'ReadableStreamDefaultController', 'ReadableStreamDefaultReader', 'TransformStream',
    'WritableStream', 'WritableStreamDefaultWriter',
  ],
  blob: ['Blob', 'File', 'FormData'],
  'structured-clone': ['structuredClone'],
  crypto: ['crypto', 'Crypto', 'CryptoKey', 'SubtleCrypto'],
  performance: ['performance'],
  fetch: ['fetch', 'Headers', 'Request', 'Response'],
  immediate: ['clearImmediate', 'setImmediate'],
  intl: ['Intl'],
  collation: [],
  console: ['console'],
};
const MODULE_OF = new Map(Object.entries(MODULES).flatMap(([module, names]) => names.map((name) => [name, module])));
export const NAMES = [...MODULE_OF.keys()];

const MARK = 'toril_probe_';
/** The global object by another name: what hangs on it is a global, too. */
const ALIAS = /\b(?:globalThis|self|window|global)\b|Function\(\s*["']return this["']\s*\)/;

/** `fetch` as a name in code: no word of a sentence, or of SQL. */
const FETCH = /\bfetch\b(?! +\w)/;

/** A module that esbuild injects: each global that is mentioned freely leaves a mark in the output. */
export const probe = (names) => names.map((name) => `export let ${name} = '${MARK}${name}';`).join('\n');

/** Packages that the SDK's polyfills are made of, wherever npm put them. */
const POLYFILLS = /(?:^|\/)node_modules\/(?:@noble\/hashes|@ungap\/structured-clone|base64-js|buffer|core-js-pure|dequal|events|ieee754|node-inspect-extracted|path-browserify|punycode|querystring-es3|readable-stream|string_decoder|url|web-streams-polyfill)\//;

/** The part of an output that is not the SDK's: modules stand below a comment with their paths. */
function foreignCode(code, inputs, isSdk) {
  let foreign = true;
  const kept = [];
  for (const line of code.split('\n')) {
    const path = /^\s*\/\/ (.+)$/.exec(line)?.[1];
    if (path !== undefined && inputs.has(path)) foreign = !isSdk(path) && !POLYFILLS.test(path);
    else if (foreign) kept.push(line);
  }
  return kept.join('\n');
}

/** The globals that an output of the probe mentions. */
export function mentioned(code, inputs, isSdk) {
  const found = new Set(Array.from(code.matchAll(new RegExp(`${MARK}(\\w+)`, 'g')), ([, name]) => name));
  const foreign = foreignCode(code, inputs, isSdk);
  if (ALIAS.test(foreign)) {
    const property = new RegExp(`\\.(${NAMES.join('|')})\\b`, 'g');
    const asks = FETCH.test(foreign);
    const own = new RegExp(`\\b(?:globalThis|window)\\s*\\??\\.\\s*(${NAMES.join('|')})\\b`, 'g');
    for (const [, name] of foreign.matchAll(own)) found.add(name);
    // Others have classes of these names, too, and the whole component would need the grant of `fetch`.
    for (const [, name] of foreign.matchAll(property)) if (asks || MODULE_OF.get(name) !== 'fetch') found.add(name);
  }
  return { names: found, foreign };
}

/** The modules of these globals, as files. */
export function modulesOf({ names, foreign }, dir) {
  const wanted = new Set([...names].map((name) => MODULE_OF.get(name)));
  // The body of an answer is a stream, if somebody asks for it.
  if (wanted.has('fetch') && /\.body\b|\{[^{}]*\bbody\b[^{}:]*\}\s*=/.test(foreign)) wanted.add('streams');
  if (wanted.has('blob') && /\.stream\(/.test(foreign)) wanted.add('streams');
  if (/\.toLocale(?:Date|Time)?String\b/.test(foreign)) wanted.add('intl');
  if (/\.localeCompare\b/.test(foreign)) wanted.add('collation');
  const light = wanted.has('crypto') && !/\bsubtle\b|\b(?:CryptoKey|SubtleCrypto)\b/.test(foreign);
  const file = (module) => join(dir, `${light && module === 'crypto' ? 'crypto-random' : module}.js`);
  return Object.keys(MODULES).filter((module) => wanted.has(module)).map(file);
}
