// The plugin of esbuild that puts the SDK in place of `bullmq` and of Node's modules.
import { join, sep } from 'node:path';
import { bareName, FOR_PACKAGES, REFUSED, SUPPORTED } from './node-modules.mjs';
import { PACKAGES, packageOf } from './packages.mjs';

const isPackage = (importer) => importer.includes(`${sep}node_modules${sep}`);
const escaped = (name) => name.replace(/[/\\^$*+?.()|[\]{}]/g, '\\$&');
const exactly = (names) => new RegExp(`^(?:${names.map(escaped).join('|')})$`);
/** Node's modules that have no name without `node:`. */
const WITH_SCHEME_ONLY = ['sea', 'sqlite', 'test'];

/** How a file of the SDK is given to `require`, and to packages, which import names that may not be there. */
const asCommonJs = (file) => ({ contents: `module.exports = require(${JSON.stringify(file)}).default;`, loader: 'js' });

/** The plugin; `refused` gets each import of something that is not available. */
export function sdkPlugin({ src, globals, refused }) {
  const node = (name) => join(src, 'node', `${name}.js`);
  const refuse = (name, why, { importer, path, kind }) => {
    refused.push({ name, why, importer, path, kind });
    // `import 'dotenv/config'` is there for its effect alone.
    const sideEffects = PACKAGES.has(packageOf(name));
    return { path: name, namespace: 'toril-refused', sideEffects, pluginData: { why } };
  };

  function resolveNode(args) {
    const name = bareName(args.path);
    if (args.path === name && WITH_SCHEME_ONLY.includes(name)) return undefined;
    const file = SUPPORTED[name] ?? (isPackage(args.importer) ? FOR_PACKAGES[name] : undefined);
    if (!file) return refuse(args.path, REFUSED[name] ?? 'Toril has no such module of Node', args);
    if (args.kind === 'import-statement' && !isPackage(args.importer)) return { path: node(file) };
    return { path: file, namespace: 'toril-node', sideEffects: false };
  }

  return {
    name: 'toril',
    setup(build) {
      const names = [...new Set([...Object.keys(SUPPORTED), ...Object.keys(FOR_PACKAGES), ...Object.keys(REFUSED)])];
      build.onResolve({ filter: exactly(names) }, resolveNode);
      build.onResolve({ filter: /^node:/ }, resolveNode);
      build.onResolve({ filter: /^(?:bullmq(?:\/.*)?|@toril\/sdk)$/ }, ({ kind }) => ({
        path: join(src, kind === 'require-call' ? 'required.js' : 'index.js'),
      }));
      build.onResolve({ filter: /^@toril\/sdk\/kv$/ }, () => ({ path: join(src, 'kv.js') }));
      build.onResolve({ filter: /^toril:globals$/ }, () => ({ path: 'globals', namespace: 'toril-globals' }));
      build.onLoad({ filter: /.*/, namespace: 'toril-globals' }, () => ({
        contents: globals.map((file) => `import ${JSON.stringify(file)};`).join('\n'),
        resolveDir: src,
      }));
      build.onLoad({ filter: /.*/, namespace: 'toril-node' }, ({ path }) => ({ ...asCommonJs(node(path)), resolveDir: src }));
      build.onResolve({ filter: exactly([...PACKAGES.keys()]) }, (args) =>
        refuse(args.path, PACKAGES.get(args.path), args),
      );
      build.onResolve({ filter: new RegExp(`^(?:${[...PACKAGES.keys()].map(escaped).join('|')})/`) }, (args) =>
        refuse(args.path, PACKAGES.get(packageOf(args.path)), args),
      );
      build.onResolve({ filter: /\.node$/ }, (args) =>
        refuse(args.path, 'it has code for one kind of machine; use a package in JavaScript alone', args),
      );
      build.onLoad({ filter: /.*/, namespace: 'toril-refused' }, ({ path, pluginData }) => ({
        contents: `module.exports = require(${JSON.stringify(join(src, 'refused.js'))}).refused(${JSON.stringify(path)}, ${JSON.stringify(pluginData.why)});`,
        resolveDir: src,
      }));
      substitutes(build, node);
    },
  };
}

/** What packages of the SDK itself, and old ones, take along though the SDK has it. */
function substitutes(build, node) {
  build.onResolve({ filter: /^process\/(?:browser(?:\.js)?)?$/ }, () => ({ path: 'process', namespace: 'toril-node' }));
  build.onResolve({ filter: /^safe-buffer$/ }, () => ({ path: 'buffer', namespace: 'toril-node' }));
  build.onResolve({ filter: /^qs$/ }, ({ importer }) =>
    /[/\\]node_modules[/\\]url[/\\]url\.js$/.test(importer) ? { path: 'querystring', namespace: 'toril-node' } : undefined,
  );
  // For browsers it has a parser of theirs; the other one is JavaScript alone.
  build.onResolve({ filter: /^\.\/xml-parser$/ }, ({ importer, resolveDir }) =>
    /[/\\]@aws-sdk[/\\]xml-builder[/\\]/.test(importer) ? { path: join(resolveDir, 'xml-parser.js') } : undefined,
  );
  build.onResolve({ filter: /^abort-controller$/ }, () => ({ path: join(node('x'), '../../events/abort.js') }));
}
