// Fails where a page for readers cites a file, a test or a function that the tree does not have.
//
// A code span is a file or a directory if it ends like one. It is a test, a function or a type if it is three words or more that are
// joined by `_`, a call, a path with `::`, or words that are joined by capitals. Other spans (flags, keys, values) are the
// business of other tests. Files are found without code spans, too.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

const root = resolve(import.meta.dirname, '..');
const PAGES = ['ARCHITECTURE.md', 'SECURITY.md', 'README.md', 'tests/README.md', 'docs/src/security.md'];
const FILE = /^(?:\.\.\/)?[\w.@*{},-]+(?:\/[\w.@*{},-]+)*\.(?:rs|lua|mjs|js|ts|py|go|c|h|sh|toml|wit|md|json|yaml|yml|service)$/;
const PLAIN_FILE = /(?<![`\w/.:<>-])(?:[\w-]+\/)+[\w-]+\.(?:rs|lua|mjs|sh|wit)\b/g;
const DIRECTORY = /^(?:\.\.\/)?[\w.@{},-]+(?:\/[\w.@{},-]+)*\/$/;
/** Files that a page calls by the name that they have with a user. */
const OF_USERS = new Set(['paint.ts', 'toril.toml', 'toril.env', 'package.json', 'tsconfig.json', 'Cargo.toml', 'go.mod']);

const tracked = execFileSync('git', ['ls-files'], { cwd: root, encoding: 'utf8', maxBuffer: 1 << 26 }).trim().split('\n');
const paths = new Set(tracked.flatMap((path) => {
  const parts = path.split('/');
  return parts.map((_, end) => parts.slice(0, end + 1).join('/'));
}));
const ends = new Set([...paths].flatMap((path) => {
  const parts = path.split('/');
  return parts.map((_, start) => parts.slice(start).join('/'));
}));
const sources = tracked.filter((path) => /\.(rs|lua|m?js|ts|py|go|c|h|sh)$/.test(path));
const words = new Set(sources.flatMap((path) => readFileSync(join(root, path), 'utf8').match(/\w+/g) ?? []));

/** Names of libraries, which are cited as what they are. */
const OF_OTHERS = new Set(['socket_addr_check']);

/** `a/{b,c}.rs` is two. */
function expanded(span) {
  const [all, list] = span.match(/\{([^{}]*)\}/) ?? [];
  return all ? list.split(',').flatMap((part) => expanded(span.replace(all, part))) : [span];
}

function isThere(path) {
  const name = path.replace(/^\.\.\/|\/$/g, '');
  if (!name.includes('*')) return ends.has(name);
  const parts = name.split('*').map((part) => part.replace(/[.{}]/g, '\\$&'));
  const pattern = new RegExp(`^${parts.join('[^/]*')}$`);
  return [...ends].some((end) => pattern.test(end));
}

function isCited(span) {
  if (OF_USERS.has(span) || OF_OTHERS.has(span)) return true;
  if (FILE.test(span) || DIRECTORY.test(span)) return expanded(span).every(isThere);
  const [, name] = span.match(/^(?:\w+::)*(\w+)(?:\(\))?$/) ?? [];
  const isName = name && (name.split('_').length > 2 || /[a-z][A-Z]/.test(name) || span.endsWith('()') || span.includes('::'));
  return !isName || words.has(name);
}

let missing = 0;
for (const page of PAGES) {
  const text = readFileSync(join(root, page), 'utf8');
  // Blocks of code are not citations, but their lines are counted.
  const prose = text.replaceAll(/^```[^]*?^```/gm, (block) => block.replaceAll(/[^\n]/g, ' '));
  prose.split('\n').forEach((line, at) => {
    const spans = [...line.matchAll(/`([^`]+)`/g)].map(([, span]) => span);
    const plain = line.match(PLAIN_FILE) ?? [];
    for (const span of [...spans, ...plain]) {
      if (isThere(span) || isCited(span)) continue;
      missing += 1;
      console.error(`${page}:${at + 1}: the tree has no \`${span}\``);
    }
  });
}
process.exitCode = missing ? 1 : 0;
