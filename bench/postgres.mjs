// A Postgres of its own, in a temporary directory, with the table that jobs write to.

import { execFileSync } from 'node:child_process';
import { chownSync, existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort, launch, until } from './measure.mjs';

const require = createRequire(join(dirname(fileURLToPath(import.meta.url)), 'work/package.json'));

/** Postgres refuses to run as root: then it runs as `nobody`. */
const NOBODY = 65534;
const as = process.getuid() === 0 ? { uid: NOBODY, gid: NOBODY } : {};

/** A program of the newest version that Debian has installed, or else of the `PATH`. */
function program(name) {
  const installed = existsSync('/usr/lib/postgresql') ? readdirSync('/usr/lib/postgresql') : [];
  const [newest] = installed.sort((one, other) => Number(other) - Number(one));
  return newest ? join('/usr/lib/postgresql', newest, 'bin', name) : name;
}

/** Starts the server; nothing is written through to the disk, which is not what is measured. */
export async function startPostgres() {
  const [port, dir] = [await freePort(), mkdtempSync(join(tmpdir(), 'toril-bench-postgres-'))];
  if (as.uid !== undefined) chownSync(dir, as.uid, as.gid);
  execFileSync(program('initdb'), ['-D', join(dir, 'data'), '-U', 'bench', '-A', 'trust', '--no-sync'], { ...as, cwd: dir, stdio: 'ignore' });
  const settings = { listen_addresses: '127.0.0.1', unix_socket_directories: dir, fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off', max_connections: 300 };
  const args = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
  const child = launch(program('postgres'), ['-D', join(dir, 'data'), '-p', String(port), ...args], { ...as, cwd: dir, stdio: 'ignore' });
  const url = `postgres://bench@127.0.0.1:${port}/postgres`;
  const { Pool } = require('pg');
  const pool = new Pool({ connectionString: url, max: 1 });
  // The server may end before the connection does.
  pool.on('error', () => {});
  await until('Postgres answers', () => pool.query('select 1').then(() => true, () => false), 50);
  await pool.query('create table orders (id bigserial primary key, customer text not null, total numeric not null, at timestamptz not null default now())');
  const stop = async () => {
    await pool.end();
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGINT');
    await gone;
    rmSync(dir, { recursive: true });
  };
  const urlFile = join(dir, 'url');
  writeFileSync(urlFile, url);
  return { child, url, urlFile, stop };
}
