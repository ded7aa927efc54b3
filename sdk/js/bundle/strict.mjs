// Strict mode: Node runs ES modules in it, and esbuild makes of them a script, which is not.

import { readFile } from 'node:fs/promises';

const DIRECTIVE = '"use strict";\n';

/** A line that only an ES module can have. */
const IS_MODULE = /^(import|export)\b/m;
const CODE = /\.[cm]?[jt]sx?$/;

/** True where the code is an ES module for sure, by its name or by such a line. */
async function isModule([input, { format }], absolute) {
  if (format === 'cjs') return false;
  if (!CODE.test(input) || /\.m[jt]s$/.test(input)) return true;
  // Nothing is sure of what is no file.
  return IS_MODULE.test(await readFile(absolute(input), 'utf8').catch(() => ''));
}

/**
 * Whether a bundle may be strict as a whole: where the processor is an ES module, and so is all else that it consists of. Code that
 * Node runs as a script or as CommonJS may count on the other mode. esbuild makes any bundle strict whose `tsconfig.json` says
 * `strict` or `alwaysStrict`.
 */
export async function isStrict({ inputs }, absolute, isForeign) {
  const foreign = Object.entries(inputs).filter(([input]) => isForeign(input));
  const judged = await Promise.all(foreign.map((input) => isModule(input, absolute)));
  return judged.every(Boolean);
}

/** The bundle with the directive above it. */
export function strictly({ script, sourceMap }) {
  if (script.startsWith(DIRECTIVE)) return { script, sourceMap };
  const map = JSON.parse(sourceMap);
  return { script: DIRECTIVE + script, sourceMap: JSON.stringify({ ...map, mappings: `;${map.mappings}` }) };
}
