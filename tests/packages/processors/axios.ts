import axios from 'axios';

export default async function (job: { data: { url: string } }) {
  const client = axios.create({ baseURL: job.data.url, headers: { 'x-test': 'axios' } });
  const { data, status } = await client.get('/json', { params: { a: 1 } });
  const posted = await client.post('/echo', { hello: 'you' });
  const failed = await client.get('/status/404').catch((error) => [error.response?.status, axios.isAxiosError(error)]);
  return { status, data, posted: posted.data, failed };
}
