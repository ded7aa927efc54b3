// Strict mode: Node runs ES modules in it, and esbuild makes of them a script, which is not.

const DIRECTIVE = '"use strict";\n';

/**
 * Whether a bundle may be strict as a whole: where the processor is an ES module and no package in CommonJS is in it. Those may count
 * on the other mode. esbuild makes any bundle strict whose `tsconfig.json` says `strict` or `alwaysStrict`.
 */
export function isStrict({ inputs }, isEntry, isSdk) {
  const foreign = Object.entries(inputs).filter(([input]) => !isSdk(input));
  return foreign.some(([input, { format }]) => isEntry(input) && format === 'esm') && !foreign.some(([, { format }]) => format === 'cjs');
}

/** The bundle with the directive above it. */
export function strictly({ script, sourceMap }) {
  if (script.startsWith(DIRECTIVE)) return { script, sourceMap };
  const map = JSON.parse(sourceMap);
  return { script: DIRECTIVE + script, sourceMap: JSON.stringify({ ...map, mappings: `;${map.mappings}` }) };
}
