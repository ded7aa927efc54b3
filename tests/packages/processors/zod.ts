import { z } from 'zod';

const Order = z.object({
  id: z.uuid(),
  email: z.email(),
  items: z.array(z.object({ sku: z.string().min(2), count: z.number().int().positive() })).nonempty(),
  placed: z.iso.datetime().transform((text) => new Date(text)),
});

export function warmup() {
  Order.safeParse({});
}

export default async function () {
  const valid = Order.parse({
    id: '5f2b6f0e-7a52-4d5c-9a52-3e0d4b2f6c11', email: 'a@example.com', items: [{ sku: 'ab', count: 2 }], placed: '2026-01-02T03:04:05Z',
  });
  const invalid = Order.safeParse({ id: 'x', email: 'no', items: [], placed: 'yesterday' });
  return { placed: valid.placed.getTime(), problems: invalid.error?.issues.map(({ path }) => path.join('.')) };
}
