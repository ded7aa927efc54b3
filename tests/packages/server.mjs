// A server for the packages that make requests: JSON, an echo, objects as S3 keeps them, customers as Stripe does.
import { once } from 'node:events';
import { createServer } from 'node:http';

const json = (response, status, value) => {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify(value));
};
const noSuchKey = '<?xml version="1.0"?><Error><Code>NoSuchKey</Code><Message>none</Message></Error>';

async function bodyOf(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

function keepObject({ method, headers }, path, body, response, objects) {
  if (method === 'PUT') {
    objects.set(path, { body, type: headers['content-type'] });
    response.writeHead(200, { etag: '"tag"' });
    return response.end();
  }
  const object = objects.get(path);
  response.writeHead(object ? 200 : 404, { 'content-type': object?.type ?? 'application/xml' });
  return response.end(object?.body ?? noSuchKey);
}

async function answer(request, response, objects) {
  const body = await bodyOf(request);
  const { pathname, search } = new URL(request.url, 'http://localhost');
  if (pathname === '/json') return json(response, 200, { method: request.method, search });
  if (pathname === '/echo') return json(response, 200, { received: JSON.parse(body), type: request.headers['content-type'].split(';')[0] });
  if (pathname.startsWith('/status/')) return json(response, Number(pathname.slice(8)), { error: 'as asked' });
  if (pathname === '/v1/customers') return json(response, 200, { id: 'cus_7', object: 'customer', sent: body });
  if (pathname.startsWith('/v1/')) return json(response, 404, { error: { type: 'invalid_request_error', message: 'none' } });
  return keepObject(request, pathname, body, response, objects);
}

/** Starts it: `{ url, stop }`. */
export async function startServer() {
  const objects = new Map();
  const server = createServer((request, response) =>
    answer(request, response, objects).catch((error) => json(response, 500, { error: String(error) })),
  );
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const stop = async () => {
    server.closeAllConnections();
    server.close();
    await once(server, 'close');
  };
  return { url: `http://127.0.0.1:${server.address().port}`, stop };
}
