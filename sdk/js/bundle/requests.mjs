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
    return { error: error instanceof BundleError ? error.message.trimEnd() : String(error.stack) };
  }
}

/** Answers until stdin ends, or nobody has asked for a long time. */
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
