// Traces: our spans belong to the trace that the producer began, and so do the jobs that a processor adds. Metrics: those of
// BullMQ's own telemetry, over HTTP and over gRPC.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { createServer as createHttp2Server } from 'node:http2';
import { Queue } from 'bullmq';
import { eventually, processor, startRedis, startToril } from './harness.mjs';

const TRACE = '0af7651916cd43dd8448eb211c80319c';
const PARENT = 'b7ad6b7169203331';
let redis;
let collector;
const spans = [];
/** The last figures that were sent. */
let metrics;
before(async () => {
  redis = await startRedis();
  collector = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    if (request.url === '/v1/traces') {
      for (const { scopeSpans } of JSON.parse(body).resourceSpans) spans.push(...scopeSpans.flatMap((scope) => scope.spans));
    } else if (request.url === '/v1/metrics') {
      metrics = JSON.parse(body).resourceMetrics.flatMap(({ scopeMetrics }) => scopeMetrics).flatMap((scope) => scope.metrics);
    }
    response.setHeader('content-type', 'application/json').end('{}');
  }).listen(0, '127.0.0.1');
  await once(collector, 'listening');
});
after(async () => {
  collector.close();
  await redis.stop();
});

const attribute = ({ attributes }, name) => {
  const value = attributes.find(({ key }) => key === name)?.value;
  return value && (value.stringValue ?? value.intValue);
};

test('spans continue the trace of the producer, through jobs that processors add', async () => {
  const queue = new Queue('traced', { connection: redis.connection });
  const metadata = JSON.stringify({ traceparent: `00-${TRACE}-${PARENT}-01` });
  await queue.add('add-children', {}, { telemetry: { metadata } });
  await queue.add('fail', {}, { telemetry: { metadata: 'no carrier' } });
  // One at a time: the children cannot end before their parent waits for them.
  const section = { processor: processor('fixture-scenarios'), concurrency: 1, grants: { queues: ['traced'] } };
  const host = await startToril(
    redis,
    { traced: section },
    { otlp_endpoint: `http://127.0.0.1:${collector.address().port}`, otlp_protocol: 'http/json' },
  );
  await eventually('all jobs end', async () => (await queue.getJobCountByTypes('completed', 'failed')) === 4);
  await host.stop();
  await queue.close();

  const of = (id) => spans.filter((span) => attribute(span, 'bullmq.job.id') === id);
  const [first, second] = of('1');
  assert.equal(first.name, 'process traced');
  assert.equal(first.kind, 5, 'a consumer');
  assert.deepEqual([first.traceId, first.parentSpanId], [TRACE, PARENT]);
  assert.equal(second.traceId, TRACE, 'the attempt after the children belongs to it, too');
  for (const id of ['added-0-of-1', 'added-1-of-1']) {
    const [child] = of(id);
    assert.deepEqual([child.traceId, child.parentSpanId], [TRACE, first.spanId]);
  }
  const [failed] = of('2');
  assert.notEqual(failed.traceId, TRACE);
  assert.equal(failed.status.message, 'on purpose');
  assert.equal(attribute(failed, 'bullmq.job.failed.reason'), 'on purpose');

  // The parent waited for its children and completed, as they did; one job failed.
  const points = (name) => {
    const metric = metrics.find((metric) => metric.name === name);
    return (metric.sum ?? metric.histogram).dataPoints.map((point) =>
      [attribute(point, 'bullmq.job.name'), attribute(point, 'bullmq.job.state'), Number(point.asInt ?? point.count)]);
  };
  const jobs = { completed: [['add-children', 1], ['return', 2]], failed: [['fail', 1]], waiting_children: [['add-children', 1]] };
  const expected = Object.entries(jobs).flatMap(([state, counts]) =>
    counts.map(([name, count]) => [`bullmq.jobs.${state}`, [name, state.replace('_', '-'), count]]));
  for (const [metric, point] of expected) {
    assert.ok(points(metric).some((seen) => seen.join() === point.join()), `${metric}: ${point}, but ${points(metric)}`);
  }
  const timed = points('bullmq.job.duration').map((point) => point.join()).sort();
  assert.deepEqual(timed, expected.map(([, point]) => point.join()).sort());
});

const byKeys = (url) => [{ otlp_endpoint: url, otlp_protocol: 'grpc' }, {}];
const byEnvironment = (url) => [{}, { OTEL_EXPORTER_OTLP_ENDPOINT: url, OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' }];

test('spans and metrics leave over gRPC', () => leaveOverGrpc('dialled', byKeys));
test('the environment names the collector and how it is spoken to', () => leaveOverGrpc('surrounded', byEnvironment));

/** `asked` makes the settings and the environment of a host from the collector's URL. */
async function leaveOverGrpc(name, asked) {
  const seen = {};
  const server = createHttp2Server().listen(0, '127.0.0.1');
  await once(server, 'listening');
  server.on('stream', async (stream, headers) => {
    const chunks = [];
    for await (const chunk of stream) chunks.push(chunk);
    (seen[headers[':path']] ??= []).push(Buffer.concat(chunks).toString('latin1'));
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
    // An empty message, not compressed.
    stream.end(Buffer.alloc(5));
  });
  const queue = new Queue(name, { connection: redis.connection });
  await queue.add('painted', {});
  const host = await startToril(
    redis,
    { [name]: { processor: processor('fixture-noop') } },
    ...asked(`http://127.0.0.1:${server.address().port}`),
  );
  await eventually('the job completes', async () => (await queue.getJobCountByTypes('completed')) === 1);
  await host.stop();
  await queue.close();
  server.close();
  const sent = (signal) => seen[`/opentelemetry.proto.collector.${signal}Service/Export`].join();
  assert.match(sent('trace.v1.Trace'), new RegExp(`process ${name}`));
  assert.match(sent('metrics.v1.Metrics'), /bullmq\.jobs\.completed/);
  assert.doesNotMatch(host.log(), /could not be sent/);
}
