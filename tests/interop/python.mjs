// Components of processors in Python, built when they are missing or older than what they are made of.
import { execFile } from 'node:child_process';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { target, toril as host } from './harness.mjs';

const root = resolve(import.meta.dirname, '../..');
const sdk = join(root, 'sdk/python/src');
/** TORIL_PYTHON names an interpreter that has componentize-py. */
const python = process.env.TORIL_PYTHON ?? join(target, 'python-venv/bin/python');
/** Compiling a component of this size takes its time. */
export const PATIENCE_MS = 320_000;

const runs = promisify(execFile);

/** False, or why processors in Python cannot be built here. */
export async function skipped() {
  try {
    await runs(python, ['-c', 'import componentize_py']);
    return false;
  } catch {
    return `${python} has no componentize-py: scripts/setup.sh python installs it`;
  }
}

/** Runs `python -m toril`; returns what it printed, or fails with it. */
export async function toril(args, { cwd = root, env = {} } = {}) {
  const { stdout } = await runs(python, ['-m', 'toril', ...args], { cwd, env: { ...process.env, ...env, PYTHONPATH: sdk } });
  return stdout.trim();
}

/** With these variables `toril` finds the package as it stands here. */
export const env = { ...process.env, TORIL_PYTHON: python, PYTHONPATH: sdk };

/** Runs `toril`, which finds the package as it stands here. */
export async function ofHost(args) {
  const { stdout } = await runs(host, args, { env });
  return stdout.trim();
}

const newest = (files) => Math.max(...files.map((file) => statSync(file).mtimeMs));
const below = (dir) =>
  readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && !entry.parentPath.includes('__pycache__'))
    .map((entry) => join(entry.parentPath, entry.name));

/** The component of a file. */
export async function component(file) {
  const source = join(root, file);
  const built = join(target, 'python', `${basename(file, '.py')}.wasm`);
  const sources = [...below(sdk), ...below(join(source, '..'))];
  if (!existsSync(built) || statSync(built).mtimeMs < newest(sources)) await toril(['build', source, '--out', built]);
  return built;
}
