// Packages that cannot work in a processor, whatever is done about it: why, and what to do.

const REDIS =
  'the host holds the connection to Redis: leave `connection` out, and take jobs, queues and flows from `bullmq`; keep other data in a key-value store (`@toril/sdk/kv`)';
const DATABASE = 'it needs a connection of its own (TCP), which a processor cannot have; use a driver or a service that speaks HTTP';
const NATIVE = 'it has code for one kind of machine; use a package in JavaScript alone, or a processor in Rust';
const BROWSER = 'it starts a browser; let a service do that, and call it with `fetch`';
const BROKER = 'it needs a connection of its own (TCP), which a processor cannot have; let a service of your own publish';
const SERVER = 'a processor serves no requests; its jobs come from the queue';

const LISTS = [
  [REDIS, 'ioredis redis @redis/client iovalkey @valkey/valkey-glide handy-redis'],
  [DATABASE, 'pg pg-native pg-pool postgres mysql mysql2 mariadb mongodb mongoose mssql tedious oracledb cassandra-driver neo4j-driver'],
  [DATABASE, 'typeorm sequelize @prisma/client'],
  [NATIVE, 'better-sqlite3 sqlite3 sharp canvas bcrypt argon2 node-sass deasync re2 farmhash usb serialport @tensorflow/tfjs-node'],
  [BROWSER, 'puppeteer puppeteer-core playwright playwright-core selenium-webdriver'],
  [BROKER, 'amqplib kafkajs mqtt nats stompit @grpc/grpc-js ssh2 ssh2-sftp-client basic-ftp ftp imapflow ldapjs'],
  [SERVER, 'express fastify koa @nestjs/core @nestjs/bullmq @bull-board/api @bull-board/express @bull-board/fastify'],
  ['Toril runs the jobs of BullMQ; `bullmq` has the same functions', 'bull bee-queue'],
  ['the environment of a processor is granted in `toril.toml` (`env`), and `process.env` has it', 'dotenv dotenv-expand dotenv-flow'],
];

export const PACKAGES = new Map(
  LISTS.flatMap(([why, names]) => names.split(' ').map((name) => [name, why])),
);

/** The package that an import names. */
export function packageOf(path) {
  const [first, second] = path.split('/');
  return first.startsWith('@') ? `${first}/${second}` : first;
}
