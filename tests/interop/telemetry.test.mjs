// Traces: our spans belong to the trace that the producer began, and so do the jobs that a processor adds.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { Queue } from 'bullmq';
import { eventually, processor, startRedis, startToril } from './harness.mjs';

const TRACE = '0af7651916cd43dd8448eb211c80319c';
const PARENT = 'b7ad6b7169203331';
let redis;
let collector;
const spans = [];
before(async () => {
  redis = await startRedis();
  collector = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    for (const { scopeSpans } of JSON.parse(body).resourceSpans) spans.push(...scopeSpans.flatMap((scope) => scope.spans));
    response.setHeader('content-type', 'application/json').end('{}');
  }).listen(0, '127.0.0.1');
  await once(collector, 'listening');
});
after(async () => {
  collector.close();
  await redis.stop();
});

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
    { otlp_endpoint: `http://127.0.0.1:${collector.address().port}` },
  );
  await eventually('all jobs end', async () => (await queue.getJobCountByTypes('completed', 'failed')) === 4);
  await host.stop();
  await queue.close();

  const attribute = (span, name) => {
    const value = span.attributes.find(({ key }) => key === name)?.value;
    return value && (value.stringValue ?? value.intValue);
  };
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
});
