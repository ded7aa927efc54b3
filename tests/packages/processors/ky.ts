import ky, { HTTPError } from 'ky';

export default async function (job: { data: { url: string } }) {
  const { url } = job.data;
  const data = await ky.get(`${url}/json`, { searchParams: { a: 1 } }).json();
  const posted = await ky.post(`${url}/echo`, { json: { hello: 'you' } }).json();
  const failed = await ky.get(`${url}/status/404`, { retry: 0 }).catch((error) => [error.response.status, error instanceof HTTPError]);
  return { data, posted, failed };
}
