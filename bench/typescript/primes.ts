// Nothing but arithmetic: what a compiler would help.
export function primes(count: number) {
  const found: number[] = [];
  for (let n = 2; found.length < count; n++) if (isPrime(n, found)) found.push(n);
  return found.at(-1);
}

function isPrime(n: number, smaller: number[]) {
  for (const prime of smaller) {
    if (prime * prime > n) return true;
    if (n % prime === 0) return false;
  }
  return true;
}

export default async () => primes(1500);
