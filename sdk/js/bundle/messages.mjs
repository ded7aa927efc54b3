// Messages of esbuild in the words of somebody who writes processors.
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { formatMessages } from 'esbuild';
import { BULLMQ_REFUSED } from './bullmq-names.mjs';

const MISSING_EXPORT = /^No matching export in "([^"]+)" for import "([^"]+)"$/;
const ALWAYS_UNDEFINED = /^Import "([^"]+)" will always be undefined because there is no matching export in "([^"]+)"$/;

/** The package of an import that leads nowhere: `zod` of `zod/v4`, `@scope/name` of `@scope/name/file`; not one of a path. */
const UNRESOLVED = /^Could not resolve "((?:@[\w.-]+\/)?[\w-][\w.-]*)(?:\/[^"]*)?"$/;
/** What esbuild says where a package is not there: what would leave the processor without it. */
const LEAVE_IT_OUT = 'You can mark the path ';

/** The module that a file of the SDK stands in for. */
function standsFor(file, isSdk) {
  if (!isSdk(file)) return undefined;
  const node = /src[/\\]node[/\\](.+)\.js$/.exec(file)?.[1];
  if (node) return node;
  return /src[/\\]index\.js$/.test(file) ? 'bullmq' : undefined;
}

function missingName(module, name) {
  const why = module === 'bullmq' ? BULLMQ_REFUSED[name] : undefined;
  return `\`${name}\` of \`${module}\` is not available in a processor${why ? `: ${why}` : ''}`;
}

/** True where a package is installed for what a file imports. */
function isInstalled(name, file) {
  for (let dir = dirname(file); ; dir = dirname(dir)) {
    if (existsSync(join(dir, 'node_modules', name, 'package.json'))) return true;
    if (dir === dirname(dir)) return false;
  }
}

/** What to do about an import of a package that leads nowhere. */
function whereToFind(wanted, file) {
  if (file && isInstalled(wanted, file)) return `\`${wanted}\` is installed, but has no such module: correct the name, or build the package if the file is one that its build makes.`;
  return `Run \`npm install ${wanted}\` in the processor's project, or correct the name.`;
}

function rewritten(message, isSdk, absolute) {
  const [, file, name] = MISSING_EXPORT.exec(message.text) ?? [];
  const module = file && standsFor(file, isSdk);
  if (module) return { ...message, text: missingName(module, name), notes: [] };
  const [, wanted] = UNRESOLVED.exec(message.text) ?? [];
  if (wanted && message.notes.some(({ text }) => text.startsWith(LEAVE_IT_OUT))) {
    const { file } = message.location ?? {};
    return { ...message, notes: [{ text: whereToFind(wanted, file && absolute(file)) }] };
  }
  if (message.text.startsWith('Top-level await')) {
    const text =
      '`await` at the top level is not available in a processor: that runs once, when the processor is built; await inside the processor';
    return { ...message, text };
  }
  return message;
}

/** Errors of esbuild, in other words where there are better ones. */
export const rewriteErrors = (errors, isSdk, absolute) => errors.map((error) => rewritten(error, isSdk, absolute));

/** Warnings that concern the processor's own files; some of them are errors here. */
export function sortWarnings(warnings, isSdk, isOwn) {
  const [errors, rest] = [[], []];
  for (const warning of warnings) {
    const [, name, file] = ALWAYS_UNDEFINED.exec(warning.text) ?? [];
    const module = file && standsFor(file, isSdk);
    if (module && isOwn(warning.location?.file)) errors.push({ ...warning, text: missingName(module, name), notes: [] });
    else if (isOwn(warning.location?.file)) rest.push(warning);
  }
  return { errors, warnings: rest };
}

/** As esbuild prints them. */
export async function shown(messages, kind, color = false) {
  return (await formatMessages(messages, { kind, color })).map((text) => text.trimEnd());
}
