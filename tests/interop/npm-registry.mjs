// An npm registry that has a few tarballs, and sends everyone who asks for anything else to the registry that is configured.
import { execFileSync } from 'node:child_process';
import { createHash, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { basename } from 'node:path';

/** Serves the tarballs; packages of the same scopes that are not among them do not exist. */
export async function startRegistry(tarballs) {
  const upstream = execFileSync('npm', ['config', 'get', 'registry'], { encoding: 'utf8' }).trim().replace(/\/$/, '');
  // npm remembers answers by address; a port may be had again.
  const base = `/${randomUUID()}`;
  const server = createServer((request, response) => answer(decodeURIComponent(request.url.slice(base.length)), response));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `http://127.0.0.1:${server.address().port}${base}`;
  const packages = new Map(tarballs.map((tarball) => describe(tarball, url)));
  const scopes = [...packages.keys()].filter((name) => name.startsWith('@')).map((name) => `/${name.split('/')[0]}/`);

  function answer(path, response) {
    const tarball = tarballs.find((each) => path === `/-/${basename(each)}`);
    if (tarball) return response.end(readFileSync(tarball));
    const document = packages.get(path.slice(1));
    if (document) return response.end(JSON.stringify(document));
    if (scopes.some((scope) => path.startsWith(scope))) return response.writeHead(404).end();
    return response.writeHead(302, { location: upstream + path.replace(/^\/(@[^/]+)\/(?!.*\/-\/)/, '/$1%2f') }).end();
  }

  return {
    url,
    async stop() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

/** What a registry says about a package: its only version. */
function describe(tarball, url) {
  const manifest = JSON.parse(execFileSync('tar', ['-xzOf', tarball, 'package/package.json'], { encoding: 'utf8' }));
  const { name, version } = manifest;
  const integrity = `sha512-${createHash('sha512').update(readFileSync(tarball)).digest('base64')}`;
  const dist = { tarball: `${url}/-/${basename(tarball)}`, integrity };
  return [name, { name, 'dist-tags': { latest: version }, versions: { [version]: { ...manifest, dist } } }];
}
