// Nothing but arithmetic: what a compiler would help.
export function primes(count: number) {
  const found: number[] = [];
  for (let n = 2; found.length < count; n++) if (found.every((prime) => prime * prime > n || n % prime !== 0)) found.push(n);
  return found.at(-1);
}

export default async () => primes(1500);
