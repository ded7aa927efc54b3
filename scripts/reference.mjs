// Writes the pages of the book that are made from the program itself: the command line from `toril help`, the admin API from
// its OpenAPI document, the WIT package from `wit/`, the JSON schema of toril.toml from the types that read it. `tests/interop/docs.test.mjs` compares them with what is committed.
//
// node scripts/reference.mjs: writes them. TORIL names another binary than the one that cargo built last.
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';

const root = resolve(import.meta.dirname, '..');
const target = resolve(process.env.CARGO_TARGET_DIR ?? join(root, 'target'));
const toril = process.env.TORIL ?? join(target, 'release/toril');
/** The command that writes the pages, for those who find them old. */
export const COMMAND = 'node scripts/reference.mjs';

// Variables of this shell would stand in the help texts as values.
const { PATH, HOME } = process.env;
const env = { PATH, HOME };
const runs = promisify(execFile);

const head = (title, source) => `# ${title}\n\n<!-- Written by \`${COMMAND}\` from ${source}. Do not edit. -->\n`;
const fenced = (language, text) => `\`\`\`${language}\n${text.trimEnd()}\n\`\`\`\n`;
/** A text in one line of a table. */
const cell = (text) => text.replaceAll(/\s+/g, ' ').replaceAll('|', '\\|').trim();
/** Its first sentence. */
const first = (text) => cell(text).match(/^.*?[.](?= [A-Z]|$)/)?.[0] ?? cell(text);

// ---- the command line ---------------------------------------------------------------------------------------------------

async function help(path) {
  const { stdout } = await runs(toril, [...path, '--help'], { env });
  return stdout.split('\n').map((line) => line.trimEnd()).join('\n').trimEnd();
}

/** The commands below one, by its help. */
function commands(text) {
  const [, list = ''] = text.match(/\nCommands:\n((?: {2}.*\n)+)/) ?? [];
  return [...list.matchAll(/^ {2}(\S+) {2,}/gm)].map(([, name]) => name).filter((name) => name !== 'help');
}

async function sections(path) {
  const text = await help(path);
  const below = [];
  for (const name of commands(text)) below.push(await sections([...path, name]));
  const own = `${'#'.repeat(path.length + 1)} toril ${path.join(' ')}\n\n${fenced('text', text)}`;
  return [path.length ? own : fenced('text', text), ...below].join('\n');
}

const commandLine = async () => `${head('Command line', '`toril help`')}\n${await sections([])}`;

// ---- the admin API ------------------------------------------------------------------------------------------------------

/** Where the API of a host listens, as its log says. */
function listens(host) {
  let log = '';
  return new Promise((resolve, reject) => {
    host.stderr.on('data', (chunk) => {
      log += chunk;
      const [, address] = log.match(/admin API listens address="?([^"\s]+)/) ?? [];
      if (address) resolve(address);
    });
    host.on('exit', () => reject(new Error(`toril ended:\n${log}`)));
  });
}

/** What a host says of its API. Needs a Redis, and brings one. */
async function openApi() {
  const dir = await mkdtemp(join(tmpdir(), 'toril-reference-'));
  const socket = join(dir, 'redis');
  const redis = spawn('redis-server', ['--port', '0', '--unixsocket', socket, '--save', '', '--dir', dir], { stdio: 'ignore' });
  const args = ['serve', '--redis', `redis+unix://${socket}`, '--admin', '127.0.0.1:0', '--queue', 'paint'];
  const host = spawn(toril, args, { cwd: dir, env, stdio: ['ignore', 'ignore', 'pipe'] });
  try {
    const address = await listens(host);
    return await (await fetch(`http://${address}/openapi.json`)).json();
  } finally {
    for (const child of [host, redis]) {
      child.kill();
      if (child.exitCode === null) await once(child, 'exit');
    }
    await rm(dir, { recursive: true });
  }
}

/** The types of a schema, as short as readers need them. */
function type(schema) {
  if (schema.$ref) {
    const name = schema.$ref.split('/').at(-1);
    return `[${name}](#${name.toLowerCase()})`;
  }
  const several = schema.oneOf ?? schema.anyOf ?? schema.allOf;
  if (several) return several.map(type).filter(Boolean).join(' or ');
  if (schema.type === 'array' || schema.type?.includes?.('array')) return `list of ${type(schema.items ?? {})}`;
  if (schema.enum) return schema.enum.map((value) => `\`${JSON.stringify(value)}\``).join(', ');
  if (schema.additionalProperties?.type || schema.additionalProperties?.$ref) return `map of ${type(schema.additionalProperties)}`;
  const types = [schema.type ?? 'any'].flat().filter((name) => name !== 'null');
  return types.join(' or ');
}

function referenced(schema, schemas, found = new Set()) {
  const text = JSON.stringify(schema ?? {});
  for (const [, name] of text.matchAll(/#\/components\/schemas\/(\w+)/g)) {
    if (found.has(name)) continue;
    found.add(name);
    referenced(schemas[name], schemas, found);
  }
  return found;
}

const isNullable = ({ type: types, oneOf = [] }) => [types].flat().includes('null') || oneOf.some((one) => one.type === 'null');

/** What a field is, as it says itself or beside the type that it refers to, and its default. */
function described({ description, oneOf = [], default: value }) {
  const text = description ?? oneOf.find((one) => one.description)?.description ?? '';
  const hasDefault = ['number', 'boolean', 'string'].includes(typeof value) && !text.includes('(default');
  return hasDefault ? `${text.replace(/\.$/, '')} (default: ${value}).` : text;
}

/** The forms of a type that `kind` tells apart. */
function forms(schema) {
  return schema.oneOf.map(({ properties: { kind, ...fields }, description }) => {
    const others = Object.entries(fields).map(([field, of]) => ` \`${field}\`: ${described(of)}`);
    return `| \`${kind.enum[0]}\` | ${cell(description)} | ${cell(others.join(' '))} |`;
  });
}

/** `isSent`: it is part of a request, which may leave fields out. */
function schemaSection(name, schema, isSent) {
  const lines = [`### ${name}`, ''];
  if (schema.description) lines.push(schema.description.trim(), '');
  if (schema.oneOf?.every(({ properties }) => properties?.kind)) {
    return [...lines, '| `kind` | what | other fields |', '|---|---|---|', ...forms(schema), ''].join('\n');
  }
  const parts = schema.allOf ?? [schema];
  const rows = parts.flatMap((part) => Object.entries(part.properties ?? {}));
  const required = new Set(parts.flatMap((part) => part.required ?? []));
  const bases = parts.filter((part) => part.$ref).map(type);
  if (bases.length) lines.push(`All fields of ${bases.join(', ')}${rows.length ? ', and:' : '.'}`, '');
  if (rows.length) {
    lines.push('| field | type | what |', '|---|---|---|');
    for (const [field, of] of rows) {
      const absent = isSent ? ' (optional)' : isNullable(of) ? ' or null' : '';
      const must = required.has(field) ? '' : absent;
      const what = described(isSent ? of : { ...of, default: undefined });
      lines.push(`| \`${field}\` | ${cell(type(of))}${must} | ${cell(what)} |`);
    }
    lines.push('');
  } else if (!bases.length) {
    lines.push(`${cell(type(schema))}`, '');
  }
  return lines.join('\n');
}

function routeSection(method, path, route) {
  const lines = [`### \`${method} ${path}\``, '', (route.description ? `${route.summary}\n\n${route.description}` : route.summary).trim(), ''];
  const parameters = (route.parameters ?? []).filter(({ name }) => !path.includes(`{${name}}`));
  for (const { name, description = '' } of parameters) lines.push(`- \`?${name}=\`: ${cell(description)}`);
  if (parameters.length) lines.push('');
  for (const [kind, { schema }] of Object.entries(route.requestBody?.content ?? {})) {
    lines.push(schema.$ref ? `Body: ${type(schema)}.` : `Body: \`${kind}\`.`, '');
  }
  lines.push('| answer | what | body |', '|---|---|---|');
  for (const [status, { description = '', content = {} }] of Object.entries(route.responses ?? {})) {
    const bodies = Object.entries(content).map(([kind, { schema }]) => (kind === 'application/json' && schema ? type(schema) : `\`${kind}\``));
    lines.push(`| ${status} | ${cell(description)} | ${cell(bodies.join(', '))} |`);
  }
  return `${lines.join('\n')}\n`;
}

async function adminApi() {
  const document = await openApi();
  const schemas = document.components?.schemas ?? {};
  const routes = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, route]) => [method.toUpperCase(), path, route]),
  );
  const anchor = (text) => text.toLowerCase().replaceAll(/[^\w\s-]/g, '').replaceAll(/\s/g, '-');
  const rows = routes.map(([method, path, { summary }]) => {
    const link = `[\`${method} ${path}\`](#${anchor(`${method} ${path}`)})`;
    return `| ${link} | ${first(summary)} |`;
  });
  const intro = [
    'The chapter on [operating](../operating.md#the-admin-api) shows the API in use. `GET /openapi.json` has the same as below,',
    'for tools. `GET /healthz` and `GET /readyz` need no token.',
    '',
    document.info.description.trim(),
  ];
  const used = [...referenced(document.paths, schemas)].sort();
  const bodies = Object.values(document.paths).flatMap((methods) => Object.values(methods).map(({ requestBody }) => requestBody));
  const sent = referenced(bodies, schemas);
  return [
    head('Admin API', "the host's OpenAPI document"),
    `${intro.join('\n')}\n`,
    ['| route | what |', '|---|---|', ...rows, ''].join('\n'),
    '## Routes\n',
    ...routes.map((route) => routeSection(...route)),
    '## Types\n',
    'A field that is optional may be left out of a request. In an answer, a field without a value is null or missing.\n',
    ...used.map((name) => schemaSection(name, schemas[name], sent.has(name))),
  ].join('\n').trimEnd() + '\n';
}

// ---- WIT ----------------------------------------------------------------------------------------------------------------

async function wit() {
  const files = (await readdir(join(root, 'wit'), { recursive: true })).filter((name) => name.endsWith('.wit')).sort();
  // The world first: it names the others.
  files.sort((a, b) => Number(b === 'world.wit') - Number(a === 'world.wit'));
  const parts = await Promise.all(
    files.map(async (name) => `## ${name}\n\n${fenced('wit', await readFile(join(root, 'wit', name), 'utf8'))}`),
  );
  const intro = 'The interface between host and guest, for languages without an SDK. The package is versioned by semver.\n';
  return [head('WIT', '`wit/`'), intro, ...parts].join('\n');
}

// ---- the config ---------------------------------------------------------------------------------------------------------

const configSchema = async () => (await runs(toril, ['config', '--schema'], { env })).stdout;

/** The pages, by their path in the repository. */
export async function pages() {
  const [cli, api, world, schema] = await Promise.all([commandLine(), adminApi(), wit(), configSchema()]);
  return {
    'docs/src/reference/cli.md': cli,
    'docs/src/reference/api.md': api,
    'docs/src/reference/wit.md': world,
    'docs/src/toril.schema.json': schema,
  };
}

if (import.meta.filename === resolve(process.argv[1] ?? '')) {
  for (const [path, text] of Object.entries(await pages())) {
    await writeFile(join(root, path), text);
    console.log(path);
  }
}
