// Makes one script of a processor's file: its packages, the SDK in place of `bullmq`, the polyfills that it needs.
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, resolve, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { checkFiles } from './checks.mjs';
import { mentioned, modulesOf, NAMES, probe } from './globals.mjs';
import { rewriteErrors, shown, sortWarnings } from './messages.mjs';
import { sdkPlugin } from './plugin.mjs';
import { judge } from './refusals.mjs';
import { cleanNames, cleanSources } from './paths.mjs';
import { isStrict, strictly } from './strict.mjs';

const SDK = dirname(dirname(fileURLToPath(import.meta.url)));
const SRC = join(SDK, 'src');
const OUTPUT = 'processor.js';
const INJECTED = /^Cannot assign to "([^"]+)" because it's an import from an injected file/;
/** Files that are imported for what is in them. */
const AS_TEXT = ['.css', '.csv', '.graphql', '.hbs', '.html', '.md', '.mustache', '.pem', '.sql', '.svg', '.txt', '.xml'];
const AS_BYTES = ['.bin', '.gif', '.jpg', '.otf', '.pdf', '.png', '.ttf', '.webp', '.woff', '.woff2'];

/** What esbuild calls an input that is no file: the text of a URL, or a module that `package.json` leaves out. */
const NO_FILE = /^(<data:|\(disabled\):)/;

const SETTINGS = [
  'package.json', 'package-lock.json', 'npm-shrinkwrap.json', 'pnpm-lock.yaml', 'yarn.lock', 'bun.lock', 'tsconfig.json', 'jsconfig.json',
];

/** A processor that cannot be bundled; the message is for people. */
export class BundleError extends Error {}

/** The folder of the package that a file belongs to, or of the file. */
function rootOf(entry) {
  for (let dir = dirname(entry); ; dir = dirname(dir)) {
    if (existsSync(join(dir, 'package.json'))) return dir;
    if (dir === dirname(dir)) return dirname(entry);
  }
}

/** What package.json says to Toril. */
function settingsOf(root) {
  const file = join(root, 'package.json');
  const { toril = {} } = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : {};
  return { stubs: toril.stubs ?? [] };
}

const entryCode = (entry) => `
import 'toril:globals';
import { start } from ${JSON.stringify(join(SRC, 'start.js'))};
import * as processor from ${JSON.stringify(entry)};
start(processor);
`;

const loaders = (extensions, loader) => Object.fromEntries(extensions.map((extension) => [extension, loader]));

function options({ entry, root, globals, refused, inject, minify }) {
  return {
    stdin: { contents: entryCode(entry), resolveDir: root, sourcefile: 'toril:entry' },
    absWorkingDir: root,
    outfile: join(root, OUTPUT),
    bundle: true,
    write: false,
    metafile: true,
    format: 'iife',
    platform: 'browser',
    target: 'es2023',
    conditions: ['toril', 'worker', 'browser', 'module'],
    mainFields: ['browser', 'module', 'main'],
    define: {
      global: 'globalThis',
      self: 'globalThis',
      'process.env.NODE_ENV': '"production"',
      'import.meta.url': '"file:///processor.js"',
      'import.meta.dirname': '"/"',
      'import.meta.filename': '"/processor.js"',
      __dirname: '"/"',
      __filename: '"/processor.js"',
    },
    loader: { ...loaders(AS_TEXT, 'text'), ...loaders(AS_BYTES, 'binary') },
    sourcemap: 'external',
    sourcesContent: false,
    legalComments: 'none',
    charset: 'utf8',
    logLevel: 'silent',
    minify,
    keepNames: minify,
    inject,
    plugins: [sdkPlugin({ src: SRC, globals, refused })],
  };
}

/** One run of esbuild; `kept` has what earlier runs read. */
async function run(settings) {
  const refused = [];
  const result = await (settings.kept?.run(options, settings, refused) ?? build(options({ ...settings, refused })));
  const [map, code] = ['.map', '.js'].map((end) => result.outputFiles.find(({ path }) => path.endsWith(end)).text);
  return { code, map, refused, metafile: result.metafile, warnings: result.warnings };
}

/** The file that esbuild injects is written nowhere: a data URL. */
const probeUrl = (names) => `data:text/javascript,${encodeURIComponent(probe(names))}`;

/** Finds out which globals the bundle mentions. Code that assigns to one has it, too. */
async function probed(settings, names = NAMES) {
  try {
    return { ...(await run({ ...settings, globals: [], inject: [probeUrl(names)], minify: false })), assigned: [] };
  } catch (error) {
    const assigned = (error.errors ?? []).map(({ text }) => INJECTED.exec(text)?.[1]).filter(Boolean);
    if (assigned.length === 0) throw error;
    const rest = await probed(settings, names.filter((name) => !assigned.includes(name)));
    return { ...rest, assigned: [...rest.assigned, ...assigned] };
  }
}

async function made(settings, isSdk) {
  const first = await probed(settings);
  const inputs = new Set(Object.values(first.metafile.outputs).flatMap((output) => Object.keys(output.inputs)));
  const found = mentioned(first.code, inputs, isSdk);
  for (const name of first.assigned) found.names.add(name);
  const globals = modulesOf(found, join(SRC, 'globals'));
  if (globals.length === 0 && !settings.minify) return first;
  return run({ ...settings, globals, inject: [] });
}

/**
 * Bundles the processor of a file: `{ script, sourceMap, warnings, inputs, sdk }`. Who bundles again and again hands on what
 * is `kept`; see kept.mjs.
 */
export async function bundle(file, { minify = false, color = false, kept } = {}) {
  const entry = resolve(file);
  if (!existsSync(entry)) throw new BundleError(`there is no file \`${file}\``);
  const root = rootOf(entry);
  const { stubs } = settingsOf(root);
  const absolute = (input) => (input.startsWith('toril') ? input : resolve(root, input));
  const isSdk = (input) => /^toril/.test(input) || absolute(input).startsWith(SDK + sep);
  const isOwn = (input) => Boolean(input) && !isSdk(input) && !absolute(input).includes(`${sep}node_modules${sep}`);
  const fail = async (errors) => {
    throw new BundleError((await shown(errors, 'error', color)).join('\n\n'));
  };

  const result = await made({ entry, root, minify, kept }, isSdk).catch((error) => {
    if (!error.errors) throw error;
    return fail(rewriteErrors(error.errors, isSdk, absolute));
  });
  const inputs = Object.keys(result.metafile.inputs).filter((input) => !isSdk(input) && !NO_FILE.test(input));
  const own = inputs.filter(isOwn);
  const [judged, checked] = await Promise.all([
    judge({ refused: result.refused, metafile: result.metafile, absolute, root, stubs }),
    checkFiles(own.map((input) => [absolute(input), input])),
  ]);
  const sorted = sortWarnings(result.warnings, isSdk, isOwn);
  const errors = [judged, checked, sorted].flatMap((part) => part.errors);
  if (errors.length) await fail(errors);
  const warnings = [judged, checked, sorted].flatMap((part) => part.warnings);
  const names = { root, sdk: SDK, inputs: Object.keys(result.metafile.inputs) };
  const parts = Object.values(result.metafile.outputs).flatMap((output) => Object.keys(output.inputs));
  const unused = unusedIn(new Set(parts.map(absolute)));
  const bundled = { script: cleanNames(result.code, names), sourceMap: cleanSources(result.map, names) };
  return {
    ...((await isStrict(result.metafile, absolute, (input) => inputs.includes(input))) ? strictly(bundled) : bundled),
    warnings: await shown(warnings, 'warning'),
    inputs: [...new Set([...own.map(absolute), ...settingsFiles(root, own.map(absolute))])],
    // The engine that has no more than the bundle may use.
    engine: unused.length === Object.keys(IMPORTS).length ? 'engine-alone.wasm' : 'engine.wasm',
    sdk: { ...named(), unused },
  };
}

/** What the engine imports that needs a grant, and the file without which a bundle does not use it. */
const IMPORTS = { 'wasi:http': ['fetch', 'fetch.js'], 'wasi:keyvalue': ['kv.js'] };

/** What the component says of the package that made it. */
function named() {
  const { name, version } = JSON.parse(readFileSync(join(SDK, 'package.json'), 'utf8'));
  return { sdk: name, version };
}

/** Of these, what a bundle of such parts does not use. */
function unusedIn(parts) {
  const unused = Object.entries(IMPORTS).filter(([, file]) => !parts.has(join(SRC, ...file)));
  return unused.map(([name]) => name);
}

/** Files that change the bundle though nothing imports them, whether they are there yet or not: beside the project's own and above. */
function settingsFiles(root, files) {
  const above = (dir) => (dir === root || dir === dirname(dir) ? [dir] : [dir, ...above(dirname(dir))]);
  const inProject = files.filter((file) => file.startsWith(root + sep));
  const dirs = new Set([root, ...inProject.flatMap((file) => above(dirname(file)))]);
  return [...dirs].flatMap((dir) => SETTINGS.map((name) => join(dir, name)));
}
