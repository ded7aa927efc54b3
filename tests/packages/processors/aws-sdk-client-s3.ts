import { GetObjectCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3';

export default async function (job: { data: { url: string } }) {
  const client = new S3Client({
    endpoint: job.data.url, region: 'eu-central-1', forcePathStyle: true,
    credentials: { accessKeyId: 'key', secretAccessKey: 'secret' },
  });
  const put = await client.send(new PutObjectCommand({ Bucket: 'bucket', Key: 'a b.txt', Body: 'content', ContentType: 'text/plain' }));
  const got = await client.send(new GetObjectCommand({ Bucket: 'bucket', Key: 'a b.txt' }));
  const missing = await client.send(new GetObjectCommand({ Bucket: 'bucket', Key: 'missing' })).catch((error) => error.name);
  return { etag: put.ETag, body: await got.Body?.transformToString(), type: got.ContentType, missing };
}
