// Names of files in what is built: relative to the project, and nothing of the machine that builds.
import { resolve, sep } from 'node:path';

const toSlashes = (path) => path.split(sep).join('/');

/** The name that a file has in the bundle. */
function cleanName(name, { root, sdk }) {
  if (/^toril[\w-]*:/.test(name)) return name;
  const path = toSlashes(resolve(root, name));
  const inPackage = path.lastIndexOf('/node_modules/');
  if (path.startsWith(`${toSlashes(sdk)}/`) && inPackage < sdk.length) return `@toril/sdk/${path.slice(sdk.length + 1)}`;
  if (inPackage >= 0) return path.slice(inPackage + 1);
  const base = `${toSlashes(root)}/`;
  return path.startsWith(base) ? path.slice(base.length) : name.replace(/^(?:\.\.\/)+/, '');
}

/** A source map with clean names. */
export function cleanSources(text, names) {
  const map = JSON.parse(text);
  map.sources = map.sources.map((source) => cleanName(source, names));
  return JSON.stringify(map);
}

/**
 * A script with clean names: esbuild writes the path of each module above it, and as the name of the function around a
 * module of CommonJS. Neither stands in a line with code that can fail.
 */
export function cleanNames(script, names) {
  const outside = names.inputs.filter((input) => input.startsWith('../'));
  const clean = new Map(outside.map((input) => [input, cleanName(input, names)]));
  return script.replace(/^(\s*(?:\/\/ |"))(\.\.\/[^"\n]+)/gm, (line, before, path) =>
    clean.has(path) ? before + clean.get(path) : line,
  );
}
