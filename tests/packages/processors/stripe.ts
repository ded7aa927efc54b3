import Stripe from 'stripe';

export default async function (job: { data: { url: string } }) {
  const { hostname: host, port, protocol } = new URL(job.data.url);
  const stripe = new Stripe('sk_test_1', { host, port, protocol: protocol.slice(0, -1) as 'http', maxNetworkRetries: 0 });
  const customer = await stripe.customers.create({ email: 'a@example.com', metadata: { job: '7' } });
  const failed = await stripe.customers.retrieve('missing').catch((error) => [error.type, error.statusCode]);
  return { id: customer.id, sent: (customer as any).sent, failed };
}
