// Imports of modules that are not available: an error where the processor cannot work without it, a warning where it might.
import { readFile } from 'node:fs/promises';
import { relative, sep } from 'node:path';
import { bareName, CONNECTIONS } from './node-modules.mjs';
import { packageOf } from './packages.mjs';

const inPackage = (file) => file.includes(`${sep}node_modules${sep}`);
const packageOfFile = (file) => packageOf(file.split(`${sep}node_modules${sep}`).at(-1).split(sep).join('/'));
const escaped = (text) => text.replace(/[/\\^$*+?.()|[\]{}]/g, '\\$&');

/** Where a file imports a module: esbuild does not tell. */
async function locate(importer, path, root) {
  const lines = (await readFile(importer, 'utf8')).split('\n');
  const quoted = new RegExp(`(['"\`])${escaped(path)}\\1`);
  const found = lines.findIndex((line) => quoted.test(line) && !/^\s*(?:\/\/|\*)/.test(line));
  if (found < 0) return { file: relative(root, importer) };
  const column = quoted.exec(lines[found]).index;
  return { file: relative(root, importer), line: found + 1, column, length: path.length + 2, lineText: lines[found] };
}

/** The imports that are still there once unused code is gone. */
function remaining(refused, metafile, absolute) {
  const used = new Set();
  for (const { inputs } of Object.values(metafile.outputs)) {
    for (const [input, { bytesInOutput }] of Object.entries(inputs)) if (bytesInOutput > 0) used.add(absolute(input));
  }
  const isUsed = ({ name, importer }) => used.has(`toril-refused:${name}`) && used.has(importer);
  const one = new Map(refused.filter(isUsed).map((entry) => [`${entry.importer}\0${entry.path}`, entry]));
  return [...one.values()];
}

/** Errors and warnings for what is refused. */
export async function judge({ refused, metafile, absolute, root, stubs }) {
  const [errors, warnings] = [[], []];
  for (const { name, why, importer, path } of remaining(refused, metafile, absolute)) {
    const location = await locate(importer, path, root);
    if (!inPackage(importer)) {
      errors.push({ text: `\`${path}\` is not available in a processor: ${why}`, location });
      continue;
    }
    const user = packageOfFile(importer);
    const needed = CONNECTIONS.includes(bareName(name)) && !stubs.includes(bareName(name));
    if (needed) {
      const hint = `if the processor never gets there, put \`"toril": { "stubs": ["${bareName(name)}"] }\` into package.json`;
      errors.push({ text: `the package \`${user}\` needs \`${path}\`, which is not available in a processor: ${why}`, location, notes: [{ text: hint }] });
    } else {
      warnings.push({ text: `the package \`${user}\` imports \`${path}\`: what it calls of it throws (${why})`, location });
    }
  }
  return { errors, warnings };
}
