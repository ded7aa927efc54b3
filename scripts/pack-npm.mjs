#!/usr/bin/env node
// Packs the npm packages from a binary that is built already, and prints the tarballs: the binary of one platform, the SDK
// for TypeScript and JavaScript, and `toril`, which depends on both. The version is the one of Cargo.toml.
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';

const USAGE = `usage: scripts/pack-npm.mjs [PART…] [--out DIR] [--binary FILE] [--platform NAME] [--repository URL]

PART is platform, sdk or launcher; default: all of them.
  --out DIR          where the tarballs go [default: npm in the target directory of cargo]
  --binary FILE      the binary to pack [default: the release build of toril]
  --platform NAME    the platform of the binary [default: this machine's]
  --print-version    prints the version instead
  --repository URL   the repository that the packages name; npm compares it with the provenance of a release`;

const root = resolve(import.meta.dirname, '..');
const target = resolve(root, process.env.CARGO_TARGET_DIR ?? 'target');
const LICENSES = ['LICENSE-MIT', 'LICENSE-APACHE'];
const platforms = readJson('packaging/npm/platforms.json');

function readJson(file) {
  return JSON.parse(readFileSync(join(root, file), 'utf8'));
}

/** The workspace's version, the only one that is written by hand, apart from the SDK's, which must be the same. */
function workspaceVersion() {
  const section = readFileSync(join(root, 'Cargo.toml'), 'utf8').split('[workspace.package]')[1];
  return section.match(/^version = "(.+)"$/m)[1];
}

const version = workspaceVersion();

/** What the manifests of all packages share. */
const shared = (repository) => ({
  version,
  license: 'MIT OR Apache-2.0',
  ...(repository && { repository: { type: 'git', url: repository } }),
  publishConfig: { access: 'public' },
});

const PACKERS = { platform: packPlatform, sdk: packSdk, launcher: packLauncher };

function packPlatform({ out, binary, platform, repository }) {
  const keys = platforms[platform];
  if (!keys) throw new Error(`no such platform: ${platform}\nhint: packaging/npm/platforms.json names those that there are`);
  if (!existsSync(binary)) throw new Error(`there is no \`${binary}\`\nhint: run \`cargo build --profile dist --bin toril\``);
  const description = `The binary of toril for ${platform}; install the package toril`;
  const names = Object.fromEntries(Object.entries(keys).map(([key, value]) => [key, [value]]));
  const manifest = { name: `@toril/${platform}`, description, ...shared(repository), ...names, preferUnplugged: true, files: ['bin'] };
  return packed(out, manifest, (dir) => {
    mkdirSync(join(dir, 'bin'));
    cpSync(binary, join(dir, 'bin/toril'));
    // On macOS the build strips it: doing so here would break its signature.
    if (keys.os === 'linux') strip(join(dir, 'bin/toril'));
  });
}

/** Symbols are a quarter of the binary. A strip for another architecture than the binary's refuses it. */
function strip(binary) {
  try {
    execFileSync('strip', [binary], { stdio: ['ignore', 'ignore', 'pipe'] });
  } catch (error) {
    process.stderr.write(`warning: packed with symbols: ${error.message.trim()}\n`);
  }
}

function packSdk({ out, repository }) {
  const sdk = readJson('sdk/js/package.json');
  if (sdk.version !== version) throw new Error(`sdk/js/package.json has version ${sdk.version}, Cargo.toml ${version}`);
  for (const engine of sdk.files.filter((file) => file.endsWith('.wasm'))) {
    if (!existsSync(join(root, 'sdk/js', engine))) throw new Error(`there is no sdk/js/${engine}\nhint: run \`make engine\``);
  }
  return packed(out, { ...sdk, ...shared(repository) }, (dir) => {
    copy('sdk/js', [...sdk.files, 'README.md'], dir);
  });
}

function packLauncher({ out, repository }) {
  const dependencies = { '@toril/sdk': version };
  const optionalDependencies = Object.fromEntries(Object.keys(platforms).map((name) => [`@toril/${name}`, version]));
  const manifest = { ...readJson('packaging/npm/toril/package.json'), ...shared(repository), dependencies, optionalDependencies };
  return packed(out, manifest, (dir) => {
    copy('packaging/npm/toril', [...manifest.files, 'README.md'], dir);
  });
}

function copy(from, names, to) {
  for (const name of names) cpSync(join(root, from, name), join(to, name), { recursive: true, dereference: true });
}

/** Packs a directory that `fill` fills; returns the tarball. */
function packed(out, manifest, fill) {
  const dir = mkdtempSync(join(tmpdir(), 'toril-npm-'));
  try {
    fill(dir);
    copy('.', LICENSES, dir);
    const complete = { ...manifest, files: [...manifest.files, ...LICENSES] };
    writeFileSync(join(dir, 'package.json'), `${JSON.stringify(complete, null, 2)}\n`);
    const answer = execFileSync('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', out, dir], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    return join(out, tarballOf(JSON.parse(answer)));
  } finally {
    rmSync(dir, { recursive: true });
  }
}

/** npm answers with a list, from version 12 on with an object that has the packages by name. */
const tarballOf = (answer) => Object.values(answer)[0].filename;

/** The key of this machine in platforms.json. */
function thisPlatform() {
  const here = Object.entries(platforms).find(([, { os, cpu }]) => os === process.platform && cpu === process.arch);
  return here?.[0] ?? `${process.platform}-${process.arch}`;
}

function main() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      out: { type: 'string', default: join(target, 'npm') },
      binary: { type: 'string', default: join(target, 'dist/toril') },
      platform: { type: 'string', default: thisPlatform() },
      repository: { type: 'string' },
      'print-version': { type: 'boolean' },
      help: { type: 'boolean' },
    },
  });
  if (values['print-version']) return void process.stdout.write(`${version}\n`);
  const parts = positionals.length ? positionals : Object.keys(PACKERS);
  const known = parts.every((part) => part in PACKERS);
  if (values.help || !known) throw new Error(USAGE);
  const options = { ...values, out: resolve(values.out) };
  mkdirSync(options.out, { recursive: true });
  for (const part of parts) process.stdout.write(`${PACKERS[part](options)}\n`);
}

try {
  main();
} catch (error) {
  process.stderr.write(`error: ${error.message}\n`);
  process.exitCode = 1;
}
