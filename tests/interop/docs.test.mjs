// README and book: each block is run, compiled or parsed, or says why not; links lead somewhere; pages that are made from the
// program are as the program is now.
//
// A page's `console` blocks are run in order, in a directory of their own and one shell; blocks that carry a file name are
// written where the shell stands. `~/toril` is this repository, and the ports 6379 and 7717 are others.
import { after, before, beforeEach, test } from 'node:test';
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { access, cp, mkdir, mkdtemp, readFile, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { promisify } from 'node:util';
import { COMMAND, pages } from '../../scripts/reference.mjs';
import { anchorOf, commands, isAsShown, read } from './markdown.mjs';
import { eventually, freePort, processor, startRedis, target, toril } from './harness.mjs';

const root = resolve(import.meta.dirname, '../..');
const book = join(root, 'docs/src');
const runs = promisify(execFile);
/** Of one command: the first build of a component in Python takes this long. */
const COMMAND_MS = 240_000;
/** Of what is shown a moment later: a job that runs, a deployment that hosts notice. */
const SHOWN_MS = 60_000;

const markdown = async (dir) => {
  const files = await readdir(dir, { recursive: true });
  return files.filter((name) => name.endsWith('.md')).map((name) => join(dir, name)).sort();
};
const named = (path) => relative(root, path);
const bookPages = await markdown(book);
const documents = await Promise.all([join(root, 'README.md'), ...bookPages].map(async (path) => ({ path, ...(await read(path, named(path))) })));
const blocksOf = (...languages) =>
  documents.flatMap(({ path, blocks }) => blocks.filter(({ language, ignore }) => languages.includes(language) && !ignore).map((block) => ({ ...block, path })));

let redis;
let home;
let adminPort;
before(async () => {
  redis = await startRedis();
  home = await mkdtemp(join(tmpdir(), 'toril-docs-'));
  await mkdir(join(home, 'bin'));
  await symlink(toril, join(home, 'bin/toril'));
  adminPort = await freePort();
});
after(() => Promise.all([redis.stop(), rm(home, { recursive: true })]));
beforeEach(() => redis.client.flushall());

// ---- what every block says of itself ------------------------------------------------------------------------------------

/** Blocks in these are programs or data that somebody runs. `text` is for what nobody runs. */
const LANGUAGES = ['console', 'ts', 'js', 'python', 'go', 'c', 'rust', 'toml', 'json', 'wit', 'text'];

test('each block names its language', () => {
  const unknown = documents.flatMap(({ blocks }) => blocks.filter(({ language }) => !LANGUAGES.includes(language)));
  assert.deepEqual(unknown.map(({ place, language }) => `${place}: ${language || 'none'}`), []);
});

test('each program is used by a command of its page', () => {
  const unused = documents.flatMap(({ blocks }) => {
    const used = blocks.filter(({ language }) => ['console', 'toml'].includes(language)).map(({ text }) => text).join('\n');
    const programs = blocks.filter(({ language, ignore }) => ['js', 'python', 'go', 'c'].includes(language) && !ignore);
    return programs.filter(({ file }) => !file || !used.includes(basename(file)));
  });
  assert.deepEqual(unused.map(({ place }) => place), [], 'give it a file name and run it, or mark it with `ignore=REASON`');
});

test('the page on the config has every key', async () => {
  const schema = JSON.parse(await readFile(join(book, 'toril.schema.json'), 'utf8'));
  const page = await readFile(join(book, 'reference/config.md'), 'utf8');
  const keys = [schema, ...Object.values(schema.$defs)].flatMap(({ properties = {} }) => Object.keys(properties));
  assert.ok(keys.length > 80, `${keys.length} keys`);
  assert.deepEqual(keys.filter((key) => !new RegExp(`\\b${key}\\b`).test(page)), []);
});

test('each JSON is JSON', () => {
  for (const { text, place } of blocksOf('json')) assert.doesNotThrow(() => JSON.parse(text), place);
});

test('each TypeScript fits the types of the SDK', async () => {
  const dir = join(home, 'types');
  const blocks = blocksOf('ts');
  // A folder for each: files of two pages may have one name.
  await Promise.all(blocks.map(async ({ text, file, place }, n) => {
    const folder = join(dir, `${n}-${basename(dirname(place.split(':')[0]))}`);
    await mkdir(folder, { recursive: true });
    await writeFile(join(folder, file ?? 'block.ts'), text);
  }));
  const compilerOptions = {
    target: 'es2023', module: 'esnext', moduleResolution: 'bundler', moduleDetection: 'force', lib: ['es2023', 'dom'], types: [],
    paths: { bullmq: [join(root, 'sdk/js/types/index.d.ts')], '@toril/sdk/kv': [join(root, 'sdk/js/types/kv.d.ts')] }, strict: true, noEmit: true, skipLibCheck: true,
  };
  // A project has these of `@types/node`.
  await writeFile(join(dir, 'process.d.ts'), 'declare const process: { env: Record<string, string | undefined> };\n');
  await writeFile(join(dir, 'tsconfig.json'), JSON.stringify({ compilerOptions, include: ['**/*.ts'] }));
  const said = await runs('node', [join(root, 'sdk/js/node_modules/typescript/bin/tsc'), '-p', dir]).catch((error) => error);
  assert.equal(said.stdout, '');
});

test('each processor in Rust compiles', async () => {
  const dir = join(home, 'rust');
  await mkdir(join(dir, 'src'), { recursive: true });
  await writeFile(join(dir, 'src/lib.rs'), '');
  await cp(join(root, 'Cargo.lock'), join(dir, 'Cargo.lock'));
  // Tests do not run in the sandbox: a command of their page runs them.
  const blocks = blocksOf('rust').filter(({ file }) => !file?.startsWith('tests/'));
  const examples = blocks.map((_, n) => `[[example]]\nname = "block${n}"\npath = "block${n}.rs"\ncrate-type = ["cdylib"]\n`);
  const sdk = JSON.stringify(join(root, 'sdk/rust'));
  await writeFile(join(dir, 'Cargo.toml'), `[package]\nname = "blocks"\nedition = "2024"\n[dependencies]\nserde = "1"\ntoril-sdk = { path = ${sdk} }\n[workspace]\n${examples.join('')}`);
  await Promise.all(blocks.map(({ text, place }, n) => writeFile(join(dir, `block${n}.rs`), `// ${place}\n${text}`)));
  const args = ['build', '--quiet', '--release', '--examples', '--target', 'wasm32-wasip2'];
  const env = { ...process.env, CARGO_TARGET_DIR: join(target, 'docs') };
  const said = await runs('cargo', args, { cwd: dir, env }).catch((error) => error);
  assert.equal(said.stderr, '', blocks.map(({ place }, n) => `block${n}.rs is ${place}`).join('\n'));
});

// ---- configs ------------------------------------------------------------------------------------------------------------

/** The certificate of an authority that signed nothing. */
const AUTHORITY = `-----BEGIN CERTIFICATE-----
MIIBkzCCATmgAwIBAgIUTzjs/HVO5JCHwtXSpCEZ8UHZirYwCgYIKoZIzj0EAwIw
HjEcMBoGA1UEAwwTQXV0aG9yaXR5IG9mIGEgdGVzdDAgFw0yNjExMjkxNTA5MzBa
GA8yMTI2MTEwNTE1MDkzMFowHjEcMBoGA1UEAwwTQXV0aG9yaXR5IG9mIGEgdGVz
dDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABFu1MRNSz9zUvM2faPp66hJSKk6S
6S0s4taBN4Eyt0rtPwIm23bSPE8sh1nKBGq67XSpK/xBFmVgKfJcrPuR4OSjUzBR
MB0GA1UdDgQWBBSmT85yrWkVXwooEFEfARMEnK76nzAfBgNVHSMEGDAWgBSmT85y
rWkVXwooEFEfARMEnK76nzAPBgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0gA
MEUCIQCcLgmDmRxf7qdkkP3j/PMY5khe3XQtKCxacOADUg+uUgIgZcxuwdr/ZTRG
ithByhTsMpp6eeg1U7h5CA8kSzrxSCc=
-----END CERTIFICATE-----
`;

/** A certificate that nobody trusts, and its key. */
const CLIENT = `-----BEGIN CERTIFICATE-----
MIIBjTCCATOgAwIBAgIUEV0aar2WP5765gW3Mp4ZIlEpaB8wCgYIKoZIzj0EAwIw
GzEZMBcGA1UEAwwQQ2xpZW50IG9mIGEgdGVzdDAgFw0yNjExMjkxNjQ1NTJaGA8y
MTI1MDYyMzE2NDU1MlowGzEZMBcGA1UEAwwQQ2xpZW50IG9mIGEgdGVzdDBZMBMG
ByqGSM49AgEGCCqGSM49AwEHA0IABCMzFr8C4KvYkqnmPzPjbmvl/4RkP5MsRG00
4iHs60uDVo7Jls3jCYIHZ/Cs0Nfgru+A1MpnTVs4CSdqI67kVNGjUzBRMB0GA1Ud
DgQWBBTpfeJ8ScLpFDGNMZPrgfoktxIy6DAfBgNVHSMEGDAWgBTpfeJ8ScLpFDGN
MZPrgfoktxIy6DAPBgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0gAMEUCIQDK
tNCSsZQHGRsNo+X4e0zfXkNDIpMfR2rkzwyBqC5zQwIgT7w7Zc41WP0bYATsyw9u
5mz8Cf1Ngd36RdIxDPgmjwE=
-----END CERTIFICATE-----
`;
const CLIENT_KEY = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgcPms6bs9K76Bd8a9
EStuIbjLavU20o/slP1HlpmLLbChRANCAAQjMxa/AuCr2JKp5j8z425r5f+EZD+T
LERtNOIh7OtLg1aOyZbN4wmCB2fwrNDX4K7vgNTKZ01bOAknaiOu5FTR
-----END PRIVATE KEY-----
`;

/** Loads a config as `toril check` does, by one of its queues. Returns the exit code and what was said. */
async function check(text, queue) {
  const dir = await mkdtemp(join(home, 'config-'));
  await mkdir(join(dir, 'processors'));
  for (const [file, text] of [['ca.pem', AUTHORITY], ['client.pem', CLIENT], ['client.key', CLIENT_KEY]]) await writeFile(join(dir, file), text);
  for (const file of ['admin.token', 'cert']) await writeFile(join(dir, file), 'secret');
  await writeFile(join(dir, 'database-url'), 'postgres://toril:secret@localhost/shop');
  await writeFile(join(dir, 'toril.toml'), text.replaceAll('/run/secrets/', `${dir}/`).replaceAll('/srv/paint', dir).replaceAll('host = "data"', `host = "${dir}"`));
  const args = ['check', processor('fixture-noop'), '--queue', queue, '--config', join(dir, 'toril.toml')];
  const env = { ...process.env, PAINT_API_KEY: 'secret', DATABASE_URL: 'postgres://toril:secret@localhost/shop' };
  return runs(toril, args, { env }).then(({ stdout }) => ({ code: 0, said: stdout }), ({ code, stderr }) => ({ code, said: stderr }));
}

const isConfig = ({ file }) => !file || basename(file) === 'toril.toml';
const queuesOf = (text) => new Set([...text.matchAll(/^\[queues\.([\w-]+)/gm)].map(([, name]) => name));

test('each config is taken', async () => {
  for (const { text, place } of blocksOf('toml').filter(isConfig)) {
    const own = queuesOf(text);
    const whole = own.size ? text : `${text}\n[queues.docs]\n`;
    for (const queue of own.size ? own : ['docs']) {
      const { code, said } = await check(whole, queue);
      assert.equal(code, 0, `${place}: ${said}`);
    }
  }
});

test('the reference of the config has every key', async () => {
  const [{ text }] = blocksOf('toml').filter(({ path }) => basename(path) === 'config.md');
  // Of an unknown key the host says which keys there are.
  for (const table of ['', '[admin]', '[runtime]', '[queues.paint]', '[queues.paint.limits]', '[queues.paint.record]', '[queues.paint.grants]', '[queues.paint.grants.http]', '[queues.paint.grants.tcp]', '[queues.paint.grants.kv]', '[queues.paint.grants.postgres.shop]']) {
    const begin = table && `\n${table}`;
    const at = table ? text.indexOf(begin) + begin.length : 0;
    const line = table ? text.indexOf('\n', at) + 1 : 0;
    const { code, said } = await check(`${text.slice(0, line)}nosuchkey = 1\n${text.slice(line)}`, 'paint');
    assert.notEqual(code, 0, `${table} takes an unknown key`);
    const [, expected = ''] = said.match(/unknown field `nosuchkey`, expected (.*)/) ?? [];
    const keys = [...expected.matchAll(/`(\w+)`/g)].map(([, key]) => key);
    assert.ok(keys.length, `${table}: ${said}`);
    const own = table ? text.slice(line) : text;
    const missing = keys.filter((key) => !new RegExp(`^(\\[(.*\\.)?)?${key}\\b`, 'm').test(own));
    assert.deepEqual(missing, [], `${table || 'the top'} of docs/src/reference/config.md lacks keys`);
  }
});

// ---- pages that are made from the program -------------------------------------------------------------------------------

test('the pages of the reference are as the program is', async () => {
  for (const [path, text] of Object.entries(await pages())) {
    assert.ok((await readFile(join(root, path), 'utf8')) === text, `${path} is old: ${COMMAND}`);
  }
});

// ---- links --------------------------------------------------------------------------------------------------------------

test('links lead somewhere', async () => {
  const others = ['ARCHITECTURE.md', 'SECURITY.md', 'CHANGELOG.md', 'tests/README.md', 'sdk/js/README.md', 'sdk/python/README.md', 'sdk/go/README.md', 'sdk/c/README.md', 'examples/typescript/README.md', 'examples/python/README.md'];
  const more = await Promise.all(others.map((name) => join(root, name)).map(async (path) => ({ path, ...(await read(path, named(path))) })));
  const all = [...documents, ...more];
  const anchors = new Map(all.map((document) => [document.path, document.anchors]));
  const broken = [];
  for (const { path, links } of all) {
    for (const { target: link, place } of links.filter(({ target }) => !/^[a-z]+:/.test(target))) {
      const [file, anchor] = link.split('#');
      const to = file ? resolve(dirname(path), file) : path;
      const there = await access(to).then(() => true, () => false);
      const leaves = path.startsWith(book) && !to.startsWith(book);
      if (!there || leaves || (anchor && !anchors.get(to)?.has(anchor))) broken.push(`${place}: ${link}${leaves ? ' leaves the book' : ''}`);
    }
  }
  assert.deepEqual(broken, []);
});

test('the summary lists each page once', () => {
  const summary = documents.find(({ path }) => basename(path) === 'SUMMARY.md');
  const listed = summary.links.map(({ target }) => target).sort();
  assert.deepEqual(listed, bookPages.map((path) => relative(book, path)).filter((path) => path !== 'SUMMARY.md').sort());
});

test('anchors are made as mdBook makes them', () => {
  assert.equal(anchorOf("Beside BullMQ's own workers"), 'beside-bullmqs-own-workers');
  assert.equal(anchorOf('GET /v1/queues/{queue}'), 'get-v1queuesqueue');
});

// ---- commands -----------------------------------------------------------------------------------------------------------

/** What a reader's shell has: `toril`, Go, and what the pages call by its own name. */
function environment(page) {
  const installs = page.blocks.some(({ text }) => text.includes('npm install'));
  const sdk = installs ? {} : { TORIL_JS_SDK: join(root, 'sdk/js') };
  const path = [join(home, 'bin'), process.env.PATH, join(target, 'go-venv/bin')].join(':');
  return { ...process.env, ...sdk, PATH: path, TORIL_REDIS: redis.url, TORIL_LOG: 'info', CARGO_TARGET_DIR: join(target, 'docs'), GOFLAGS: '-mod=mod' };
}

/** In a text of a page, what is elsewhere here. */
const here = (text) =>
  text
    .replaceAll('~/toril', root)
    .replaceAll('6379', String(redis.connection.port))
    .replaceAll('7717', String(adminPort));

/** Commands that go on until they are told to stop. */
const GOES_ON = /^toril (serve|dev)\b/;
/** Commands that only look: they are asked again until they show what the page shows. */
const LOOKS = /^(toril (status|versions|events|flow show|job (?!cancel|retry|promote|remove))|curl -s \$A)/;
/** Commands that add a job. */
const ADDS = /^toril add /;
/** A replay that comes to a recorded failure has not failed. */
const fails = (output) => /^differs: /m.test(output) || (/^(failed( for good)?|error): /m.test(output) && !/^as recorded$/m.test(output));

class Shell {
  constructor(dir, env) {
    this.dir = dir;
    this.cwd = dir;
    this.env = env;
    this.process = spawn('bash', [], { cwd: dir, env, stdio: ['pipe', 'pipe', 'inherit'] });
  }

  async run(command) {
    const [file, out, err] = ['command', 'out', 'err'].map((name) => `${this.dir}.${name}`);
    await writeFile(file, `${command}\n`);
    let said = '';
    this.process.stdout.setEncoding('utf8');
    const done = new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`\`${command}\` takes too long`)), COMMAND_MS);
      const listen = (chunk) => {
        said += chunk;
        const [, code, cwd] = said.match(/^done (\d+) (.*)\n$/) ?? [];
        if (!cwd) return;
        clearTimeout(timer);
        this.process.stdout.off('data', listen);
        this.cwd = cwd;
        resolve(Number(code));
      };
      this.process.stdout.on('data', listen);
    });
    this.process.stdin.write(`. ${file} > ${out} 2> ${err} < /dev/null; printf 'done %s %s\\n' "$?" "$PWD"\n`);
    const code = await done;
    const [stdout, stderr] = await Promise.all([out, err].map((name) => readFile(name, 'utf8')));
    // What takes longer than half a second says so: a slow machine has more of such lines.
    return { code, stdout, stderr: stderr.replaceAll(/^.* …\n/gm, '') };
  }

  async start(command) {
    await this.stop();
    const child = spawn('bash', ['-c', `exec ${command}`], { cwd: this.cwd, env: this.env, stdio: ['ignore', 'ignore', 'pipe'] });
    let log = '';
    child.stderr.on('data', (chunk) => (log += chunk));
    this.served = { child, log: () => log, exited: once(child, 'exit') };
    await eventually(`\`${command}\` serves`, () => {
      if (child.exitCode !== null) throw new Error(`\`${command}\` ended:\n${log}`);
      return /serving/.test(log);
    }, COMMAND_MS);
  }

  async stop() {
    const { child, exited } = this.served ?? {};
    this.served = undefined;
    if (!child) return;
    child.kill('SIGTERM');
    await exited;
  }

  async end() {
    await this.stop();
    this.process.stdin.end();
    if (this.process.exitCode === null) await once(this.process, 'exit');
  }
}

/** A host works faster than a reader types: what was added has run when the next command comes. */
function worked(command) {
  const empty = async (list) => (await redis.client.keys(`*:${list}`)).length === 0;
  return eventually(`no job waits or runs after \`${command}\``, async () => (await empty('wait')) && empty('active'), SHOWN_MS);
}

/** Runs a command, and compares with what the page shows. */
async function follow(shell, { command, output }, place) {
  if (GOES_ON.test(command)) return shell.start(command);
  const end = Date.now() + SHOWN_MS;
  for (;;) {
    const { code, stdout, stderr } = await shell.run(command);
    const fits = !output || [stdout, stdout + stderr].some((text) => isAsShown(text, output));
    if (fits && (code !== 0) === fails(output)) return ADDS.test(command) && shell.served ? worked(command) : undefined;
    if (LOOKS.test(command) && Date.now() < end) {
      await new Promise((tick) => setTimeout(tick, 50));
      continue;
    }
    const log = shell.served?.log() ?? '';
    throw new Error(`${place}: \`${command}\` ended with ${code}\nshown:\n${output}\nprinted:\n${stdout}\n${stderr}\nlog of the host:\n${log}`);
  }
}

async function runPage(page) {
  const dir = join(home, named(page.path).replaceAll(/\W/g, '-'));
  await mkdir(dir);
  const shell = new Shell(dir, environment(page));
  try {
    for (const { language, file, ignore, text, place } of page.blocks.filter(({ ignore }) => !ignore)) {
      if (language === 'console') {
        for (const step of commands(here(text))) await follow(shell, step, place);
      } else if (file) {
        await mkdir(dirname(join(shell.cwd, file)), { recursive: true });
        await writeFile(join(shell.cwd, file), here(text));
      }
    }
  } finally {
    await shell.end();
  }
}

for (const page of documents) {
  const runs = page.blocks.some(({ language, ignore }) => language === 'console' && !ignore);
  if (runs) test(`${named(page.path)}: its commands do what it says`, () => runPage(page));
}
