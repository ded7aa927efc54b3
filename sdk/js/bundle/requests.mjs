// Bundles again and again for a program that waits for changes: a request is a line of JSON on stdin, its answer one on stdout.
import { createInterface } from 'node:readline';
import { bundle, BundleError } from './index.mjs';
import { Kept } from './kept.mjs';

/** Who asks for nothing for so long gets the memory back; a bundler that is needed again is started again. */
const IDLE_MS = 10 * 60_000;

async function answer(line, kept) {
  try {
    const { entry } = JSON.parse(line);
    return { bundle: await bundle(entry, { kept }) };
  } catch (error) {
    // Whatever else is wrong is no mistake of the processor, and may stay: esbuild that has ended does not start again. The
    // process ends with it, and who asked starts another one.
    if (!(error instanceof BundleError)) throw error;
    return { error: error.message.trimEnd() };
  }
}

/** Answers until stdin ends, or nobody has asked for a long time. Throws what is no mistake of a processor. */
export async function answerRequests({ stdin, stdout }) {
  const kept = new Kept();
  const lines = createInterface({ input: stdin, crlfDelay: Infinity });
  let idle = setTimeout(() => lines.close(), IDLE_MS);
  for await (const line of lines) {
    clearTimeout(idle);
    const text = JSON.stringify(await answer(line, kept));
    await new Promise((sent) => stdout.write(`${text}\n`, sent));
    idle = setTimeout(() => lines.close(), IDLE_MS);
  }
  clearTimeout(idle);
}
