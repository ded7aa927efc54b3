// Half a megabyte of libraries: one validation, one date and one grouping for each job.
import { addDays, format } from 'date-fns';
import _ from 'lodash';
import { z } from 'zod';

const Order = z.object({
  id: z.string().min(1),
  email: z.email(),
  items: z.array(z.object({ sku: z.string(), count: z.number().int().positive(), price: z.number() })),
});

const example = { id: 'order', email: 'ann@example.com', items: [{ sku: 'a', count: 1, price: 2 }, { sku: 'b', count: 2, price: 3 }] };

function total(order: unknown) {
  const { items } = Order.parse(order);
  return {
    total: _.sumBy(items, (item) => item.count * item.price),
    skus: Object.keys(_.groupBy(items, 'sku')),
    due: format(addDays(new Date(0), 14), 'yyyy-MM-dd'),
  };
}

/** Runs while the component is built: zod compiles a validator when it is first used. */
export function warmup() {
  total(example);
}

export default async () => total(example);
