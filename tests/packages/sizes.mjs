// Bundles each processor and prints how large it became, as it is and minified.
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { bundle } from '../../sdk/js/bundle/index.mjs';

const dir = new URL('processors/', import.meta.url).pathname;
console.log('| processor | bytes | minified | warnings |\n|---|---|---|---|');
for (const file of (await readdir(dir)).sort()) {
  try {
    const plain = await bundle(join(dir, file));
    const small = await bundle(join(dir, file), { minify: true });
    console.log(`| ${file} | ${plain.script.length} | ${small.script.length} | ${plain.warnings.length} |`);
    if (process.argv.includes('--warnings')) for (const warning of plain.warnings) console.error(warning);
  } catch (error) {
    console.log(`| ${file} | ${error.message.split('\n')[0]} | | |`);
    if (process.argv.includes('--warnings')) console.error(error.message);
  }
}
