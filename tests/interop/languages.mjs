// What `toril` needs to build processors of each language with the SDKs as they stand here.
import { resolve } from 'node:path';
import * as go from './go.mjs';
import { target } from './harness.mjs';
import * as python from './python.mjs';

/** The SDKs. */
export const sdk = resolve(import.meta.dirname, '../../sdk');
const script = { env: { ...process.env, TORIL_JS_SDK: resolve(sdk, 'js') }, skip: false };

/** By name: the environment, and why the language cannot be tested here, if so. */
export const languages = {
  typescript: script,
  javascript: script,
  python: { env: python.env, skip: await python.skipped() },
  go: { env: go.env, skip: await go.skipped() },
  c: { env: process.env, skip: false },
  rust: { env: { ...process.env, CARGO_TARGET_DIR: target }, skip: false },
};

/** Building and compiling may take this long. */
export const PATIENCE_MS = 20 * 60_000;
