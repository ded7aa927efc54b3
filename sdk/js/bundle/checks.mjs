// Looks through the processor's own files for what works in Node and cannot work here: the environment at the top level,
// and names that modules do not have.
import { readFile } from 'node:fs/promises';
import { extname } from 'node:path';
import { transform } from 'esbuild';
import { bareName, CRYPTO_ADVICE, CRYPTO_REFUSED } from './node-modules.mjs';
import { BULLMQ_REFUSED } from './bullmq-names.mjs';

/** Files that have none of these words have nothing to look for. */
const WORTH_A_LOOK = /process\s*\.\s*env|\bcrypto\b|bullmq|@toril\/sdk|import\.meta\.env/;
const LOADERS = { '.ts': 'ts', '.mts': 'ts', '.cts': 'ts', '.tsx': 'tsx', '.jsx': 'jsx', '.js': 'jsx', '.mjs': 'jsx', '.cjs': 'jsx' };
const FUNCTIONS = ['FunctionDeclaration', 'FunctionExpression', 'ArrowFunctionExpression'];

const crypto = Object.fromEntries(CRYPTO_REFUSED.map((name) => [name, CRYPTO_ADVICE]));
const REFUSED_NAMES = { crypto, bullmq: BULLMQ_REFUSED, '@toril/sdk': BULLMQ_REFUSED };

/** True where a node runs while the module is loaded: in no function, or in one that is called where it stands. */
function atTopLevel(ancestors) {
  return ancestors.every((node, at) => {
    if (node.type === 'PropertyDefinition' && !node.static) return false;
    if (!FUNCTIONS.includes(node.type)) return true;
    const parent = ancestors[at - 1];
    return parent?.type === 'CallExpression' && parent.callee === node;
  });
}

const isEnv = (node) =>
  node.type === 'MemberExpression' && node.object.name === 'process' && (node.property.name ?? node.property.value) === 'env';

/** The module that a call of `require` or an import names. */
const required = (node) =>
  node?.type === 'CallExpression' && node.callee.name === 'require' ? node.arguments[0]?.value : undefined;

/** Loaded when there is something to look at: most bundles wait for nothing then. */
async function tools() {
  const [{ parse }, { ancestor }, { originalPositionFor, TraceMap }] = await Promise.all([
    import('acorn'), import('acorn-walk'), import('@jridgewell/trace-mapping'),
  ]);
  return { parse, ancestor, originalPositionFor, TraceMap };
}

function lookThrough(tree, found, ancestor) {
  /** Local names of whole modules whose members are looked at. */
  const modules = new Map();
  const refuse = (module, name, node) => {
    const why = REFUSED_NAMES[module]?.[name];
    if (why) found.errors.push({ text: `\`${name}\` of \`${module}\` is not available in a processor: ${why}`, node });
  };
  const bind = (pattern, path) => {
    const module = typeof path === 'string' ? bareName(path) : undefined;
    if (!REFUSED_NAMES[module]) return;
    if (pattern.type === 'Identifier') modules.set(pattern.name, module);
    if (pattern.type !== 'ObjectPattern') return;
    for (const { key } of pattern.properties) refuse(module, key?.name, key ?? pattern);
  };
  ancestor(tree, {
    ImportDeclaration({ specifiers, source }) {
      for (const specifier of specifiers) {
        if (specifier.type === 'ImportSpecifier') refuse(bareName(source.value), specifier.imported.name, specifier);
        else bind(specifier.local, source.value);
      }
    },
    VariableDeclarator({ id, init }) {
      bind(id, required(init));
    },
  });
  ancestor(tree, {
    MemberExpression(node, _state, ancestors) {
      const name = node.property.name ?? node.property.value;
      if (modules.has(node.object.name)) refuse(modules.get(node.object.name), name, node);
      if (required(node.object)) refuse(bareName(required(node.object)), name, node);
      if (isEnv(node) && atTopLevel(ancestors)) found.environment.push({ node, parent: ancestors.at(-2) });
    },
  });
}

const nameOfVariable = ({ node, parent }) =>
  parent?.type === 'MemberExpression' && parent.object === node && !parent.computed ? `process.env.${parent.property.name}` : 'process.env';

/** An error or a warning in a file, where esbuild would show it. */
function message(text, node, { file, source, original }) {
  const { line, column } = original({ line: node.loc.start.line, column: node.loc.start.column });
  const lineText = source.split('\n')[line - 1] ?? '';
  return { text, location: { file, line, column, lineText } };
}

async function check(absolute, file) {
  const loader = LOADERS[extname(absolute)];
  const source = loader ? await readFile(absolute, 'utf8') : '';
  if (!WORTH_A_LOOK.test(source)) return { errors: [], warnings: [] };
  const { parse, ancestor, originalPositionFor, TraceMap } = await tools();
  const { code, map } = await transform(source, {
    loader, sourcemap: 'external', sourcesContent: false, target: 'esnext', logLevel: 'silent', jsx: 'transform',
    tsconfigRaw: { compilerOptions: { experimentalDecorators: true } },
  });
  const found = { errors: [], environment: [] };
  const options = { ecmaVersion: 'latest', locations: true, allowReturnOutsideFunction: true, allowHashBang: true };
  lookThrough(parse(code, { ...options, sourceType: /\.c[jt]s$/.test(absolute) ? 'script' : 'module' }), found, ancestor);
  const traced = new TraceMap(map);
  const at = { file, source, original: (place) => originalPositionFor(traced, place) };
  const environment = (place) =>
    message(
      `\`${nameOfVariable(place)}\` is undefined here: a module's top level runs once, when the processor is built; read it inside the processor`,
      place.node,
      at,
    );
  return {
    errors: found.errors.map(({ text, node }) => message(text, node, at)),
    warnings: found.environment.map(environment),
  };
}

/** Errors and warnings of the processor's own files: pairs of an absolute path and the one that is shown. */
export async function checkFiles(files) {
  // What this cannot read, esbuild has read: it says nothing then.
  const quiet = () => ({ errors: [], warnings: [] });
  const all = await Promise.all(files.map(([absolute, shown]) => check(absolute, shown).catch(quiet)));
  return { errors: all.flatMap(({ errors }) => errors), warnings: all.flatMap(({ warnings }) => warnings) };
}
