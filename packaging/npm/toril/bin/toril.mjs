#!/usr/bin/env node
// Starts the binary of `toril` that npm installed for this platform, and behaves as that process does: the same standard
// streams, signals and exit code.
import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { isatty } from 'node:tty';
import { findBinary, NoBinaryError } from '../lib/binary.mjs';

/** What ends or reloads a host. Node.js would end here at each of them, and leave the host running. */
const FORWARDED = ['SIGTERM', 'SIGINT', 'SIGQUIT', 'SIGHUP'];
/** A terminal sends these to all processes in its foreground; the second SIGINT would tell a host not to wait for its jobs. */
const SENT_BY_TERMINALS = ['SIGINT', 'SIGQUIT'];
/** How soon the end of the shell below npx is noticed. */
const SHELL_CHECK_MS = 500;

function launch(binary) {
  const child = spawn(binary, process.argv.slice(2), { stdio: 'inherit' });
  const onTerminal = [0, 1, 2].some((stream) => isatty(stream));
  for (const signal of FORWARDED) {
    const reached = onTerminal && SENT_BY_TERMINALS.includes(signal);
    process.on(signal, () => reached || child.kill(signal));
  }
  endWithShell(child);
  child.on('error', (error) => fail(`failed to start \`${binary}\`: ${error.message}`));
  child.on('exit', (code, signal) => (signal ? endBy(signal) : process.exit(code)));
}

/**
 * npx and npm start a shell, which starts this script. They send SIGTERM to the shell alone. Debian's `sh` ends then, tells
 * nobody, and would leave a host that no one can find.
 */
function endWithShell(child) {
  if (!process.env.npm_lifecycle_event) return;
  const shell = process.ppid;
  const timer = setInterval(() => {
    if (process.ppid === shell) return;
    clearInterval(timer);
    child.kill('SIGTERM');
  }, SHELL_CHECK_MS);
}

/** Ends as the binary did, so that a shell or a supervisor sees the same. */
function endBy(signal) {
  process.removeAllListeners(signal);
  process.kill(process.pid, signal);
  // Node.js ignores a few signals, such as SIGPIPE. Shells report a signal in this form, too.
  setTimeout(() => process.exit(128 + constants.signals[signal]), 100);
}

function fail(message) {
  process.stderr.write(`error: ${message}\n`);
  process.exit(1);
}

try {
  launch(findBinary());
} catch (error) {
  if (!(error instanceof NoBinaryError)) throw error;
  fail(error.message);
}
