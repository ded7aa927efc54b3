// What processors usually do, by the job's name, as one writes it for BullMQ's own worker: connections are kept open and
// shared. `tests/fixtures/work` does the same.
import { readFileSync } from 'node:fs';
import { Agent as HttpAgent, get as httpGet } from 'node:http';
import { Agent as HttpsAgent, get as httpsGet } from 'node:https';
import { createRequire } from 'node:module';

/** The processor; `concurrency` sockets for requests, and a pool of connections to Postgres. */
export function processor({ concurrency, authority, postgres }) {
  const options = { keepAlive: true, maxSockets: concurrency, maxFreeSockets: concurrency };
  const agents = { http: new HttpAgent(options), https: new HttpsAgent({ ...options, ca: authority && readFileSync(authority) }) };
  const request = async ({ name, data }) => (await ask(name === 'https' ? httpsGet : httpGet, data.url, agents[name])).rate;
  const pool = postgres && openPool(postgres);
  const kinds = {
    http: request,
    https: request,
    async postgres({ data: { customer, total } }) {
      const { rows } = await pool.query({ name: 'add', text: 'insert into orders (customer, total) values ($1, $2) returning id', values: [customer, total] });
      return Number(rows[0].id);
    },
    json: async ({ data }) => data.items.reduce((sum, { price, quantity }) => sum + price * quantity, 0),
    compute: async ({ data }) => primes(data.count),
    async chatty(job) {
      for (let step = 1; step <= 3; step++) {
        await job.log(`wall ${step} is painted`);
        await job.updateProgress(step * 30);
      }
      await job.updateData({ painted: 3 });
      return 3;
    },
  };
  return (job) => kinds[job.name](job);
}

function ask(get, url, agent) {
  return new Promise((resolve, reject) => {
    const request = get(url, { agent }, (response) => {
      const chunks = [];
      response.on('data', (chunk) => chunks.push(chunk));
      response.once('error', reject);
      response.once('end', () => {
        if (response.statusCode >= 400) reject(new Error(`${url}: ${response.statusCode}`));
        else resolve(JSON.parse(Buffer.concat(chunks).toString()));
      });
    });
    request.once('error', reject);
  });
}

/** More connections than cores gain nothing: Postgres has a process for each. */
function openPool(connectionString) {
  const { Pool } = createRequire(import.meta.url)('pg');
  return new Pool({ connectionString, max: 10 });
}

function primes(count) {
  const found = [];
  for (let n = 2; found.length < count; n++) if (isPrime(n, found)) found.push(n);
  return found.at(-1);
}

function isPrime(n, smaller) {
  for (const prime of smaller) {
    if (prime * prime > n) return true;
    if (n % prime === 0) return false;
  }
  return true;
}
