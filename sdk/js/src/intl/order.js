// The order of texts as dictionaries have it: that of all languages without letters of their own.

const bare = (text) => text.normalize('NFD').replace(/\p{M}/gu, '');
const order = (first, second) => (first < second ? -1 : first > second ? 1 : 0);

/** The order of two texts: by letters first, then by accents, then by case. */
export function compare(first, second, { numeric = false, sensitivity = 'variant' } = {}) {
  const letters = numeric ? byNumbers(bare(first).toLowerCase(), bare(second).toLowerCase()) : order(bare(first).toLowerCase(), bare(second).toLowerCase());
  if (letters || sensitivity === 'base') return letters;
  const accents = order(first.normalize('NFD').toLowerCase(), second.normalize('NFD').toLowerCase());
  if (accents || sensitivity === 'accent') return accents;
  // Small letters come first.
  return -order(first, second);
}

function byNumbers(first, second) {
  const [a, b] = [first, second].map((text) => text.match(/\d+|\D+/g) ?? []);
  for (let at = 0; at < Math.min(a.length, b.length); at += 1) {
    const different = /^\d/.test(a[at]) && /^\d/.test(b[at]) ? Number(a[at]) - Number(b[at]) : order(a[at], b[at]);
    if (different) return Math.sign(different);
  }
  return Math.sign(a.length - b.length);
}
