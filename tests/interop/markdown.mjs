// What the test of the documents reads of a Markdown file: its fenced blocks, its links, and the anchors of its headings.
import { readFile } from 'node:fs/promises';

/**
 * @typedef Block
 * @property {string} language
 * @property {string | undefined} file the name that the block is written to
 * @property {string | undefined} ignore why it is not run
 * @property {string} text
 * @property {string} place file and line
 */

/** ```LANGUAGE [FILE] [ignore=REASON, to the end of the line] */
function info(text) {
  const [, words, ignore] = text.match(/^(.*?)(?:\s*\bignore=(.+))?$/);
  const [language = '', file] = words.trim().split(/\s+/);
  return { language, file, ignore };
}

/** A heading's anchor, as mdBook and GitHub make it. */
export const anchorOf = (heading) =>
  heading
    .trim()
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
    .replaceAll(/\s/g, '-');

export async function read(path, shown = path) {
  const [blocks, links, anchors] = [[], [], new Set()];
  let block;
  for (const [index, line] of (await readFile(path, 'utf8')).split('\n').entries()) {
    const place = `${shown}:${index + 1}`;
    const fence = line.match(/^\s*```(.*)$/);
    if (fence && block) {
      blocks.push(block);
      block = undefined;
    } else if (fence) {
      block = { ...info(fence[1]), text: '', place };
    } else if (block) {
      block.text += `${line}\n`;
    } else {
      const [, heading] = line.match(/^#+ (.*)$/) ?? [];
      if (heading) anchors.add(anchorOf(heading));
      const prose = line.replaceAll(/`[^`]*`/g, (code) => '`'.repeat(code.length));
      for (const { index: at } of prose.matchAll(/\]\(/g)) {
        const target = line.slice(at + 2, line.indexOf(')', at));
        links.push({ target, place });
      }
    }
  }
  if (block) throw new Error(`${block.place}: the block has no end`);
  return { blocks, links, anchors };
}

/**
 * The commands of a `console` block with what they should print: a line that begins with `$ ` is a command, one that ends
 * with a backslash goes on, and what follows is its output.
 */
export function commands(text) {
  const found = [];
  let goesOn = false;
  for (const line of text.trimEnd().split('\n')) {
    if (line.startsWith('$ ')) found.push({ command: line.slice(2), output: [] });
    else if (goesOn) found.at(-1).command += `\n${line}`;
    else found.at(-1)?.output.push(line);
    goesOn = line.endsWith('\\') && (goesOn || line.startsWith('$ '));
  }
  return found.map(({ command, output }) => ({ command, output: output.join('\n').trim() }));
}

/** True where an output is as shown. `…` stands for anything, lines too. */
export function isAsShown(output, shown) {
  const quoted = (text) => text.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&');
  const pattern = shown.trim().split('\n').map((line) => quoted(line.trimEnd())).join('[ ]*\n');
  // Where nothing stands for the last `…`, the line break before it need not be there.
  return new RegExp(`^${pattern.replaceAll('[ ]*\n…', '(?:[ ]*\n)?…').replaceAll('…', '[\\s\\S]*?')}[ ]*$`).test(output.trim());
}
