// Finds the binary of `toril` among the packages that npm installed.
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';

const require = createRequire(import.meta.url);
const manifest = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
const PACKAGES = Object.keys(manifest.optionalDependencies);
const FROM_SOURCE = 'build it from its source with `cargo install --locked --profile dist --path host`';
const ON_WINDOWS = 'install it in the Windows Subsystem for Linux';

/** There is no binary for this platform, or its package is not installed. The message says what to do. */
export class NoBinaryError extends Error {}

/** The path of the binary for this machine. */
export function findBinary({ platform, arch, libc } = thisMachine()) {
  const name = `@toril/${[platform, arch, libc].filter(Boolean).join('-')}`;
  if (!PACKAGES.includes(name)) throw new NoBinaryError(unsupported(name));
  try {
    return require.resolve(`${name}/bin/toril`);
  } catch {
    throw new NoBinaryError(notInstalled(name));
  }
}

function thisMachine() {
  const { platform, arch } = process;
  return { platform, arch, libc: platform === 'linux' ? libcOfLinux() : undefined };
}

/** The report of Node.js names the version of glibc where there is one; other C libraries do not show in it. */
function libcOfLinux() {
  process.report.excludeNetwork = true;
  return process.report.getReport().header.glibcVersionRuntime ? 'gnu' : 'musl';
}

function unsupported(name) {
  const platforms = PACKAGES.map((each) => each.replace('@toril/', '')).join(', ');
  const hint = name.startsWith('@toril/win32') ? ON_WINDOWS : FROM_SOURCE;
  return `toril has no binary for ${name.replace('@toril/', '')}, only for ${platforms}\nhint: ${hint}`;
}

function notInstalled(name) {
  const { version } = manifest;
  return (
    `the package \`${name}\`, which has the binary of toril for this machine, is not installed\n` +
    'hint: it is an optional dependency of `toril`. npm leaves it out with `--omit=optional` or `--no-optional`, and if\n' +
    '  `node_modules` or `package-lock.json` was made on another platform. Install without that flag after you removed\n' +
    `  \`node_modules\`, or run \`npm install --save-optional ${name}@${version}\``
  );
}
