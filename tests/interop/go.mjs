// Components of processors in Go, built when they are missing or older than what they are made of.
import { execFile } from 'node:child_process';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { target, toril } from './harness.mjs';

const root = resolve(import.meta.dirname, '../..');
const sdk = join(root, 'sdk/go');
const [installed] = ['bin/go', 'Scripts/go.exe'].map((name) => join(target, 'go-venv', name)).filter(existsSync);
/** TORIL_GO names a `go`; otherwise it is the one that scripts/setup.sh installs, or the system's. */
const go = process.env.TORIL_GO ?? installed ?? 'go';
/** Compiling a component of this size takes its time. */
export const PATIENCE_MS = 320_000;

const runs = promisify(execFile);
/** With these variables `toril` finds the `go`. */
export const env = { ...process.env, GOTOOLCHAIN: 'local', TORIL_GO: go };

/** False, or why processors in Go cannot be built here. */
export async function skipped() {
  try {
    const { stdout } = await runs(go, ['env', 'GOVERSION'], { env, cwd: sdk });
    const [, minor] = stdout.match(/^go1\.(\d+)/) ?? [];
    return minor < 24 ? `${stdout.trim()} is older than go1.24: scripts/setup.sh go installs a newer one` : false;
  } catch {
    return `${go} is missing: scripts/setup.sh go installs it`;
  }
}

const newest = (dirs) => Math.max(...dirs.flatMap(below).map((file) => statSync(file).mtimeMs));
const below = (dir) =>
  readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));

/** Builds the package in a directory; fails with what the tools said. */
export async function build(dir, built) {
  await runs(toril, ['build', join(dir, 'main.go'), '--out', built], { env });
  return built;
}

/** The component of a package, by its directory in the repository. */
export async function component(dir) {
  const source = join(root, dir);
  const built = join(target, 'go', `${basename(dirname(dir))}-${basename(dir)}.wasm`);
  const age = existsSync(built) ? statSync(built).mtimeMs : 0;
  if (age < newest([sdk, source])) await build(source, built);
  return built;
}
