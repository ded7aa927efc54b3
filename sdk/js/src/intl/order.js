// The order of texts as dictionaries have it: that of all languages without letters of their own.

/** Letters that no mark makes of others. */
const PLAIN = { ß: 'ss', ẞ: 'SS', æ: 'ae', Æ: 'AE', œ: 'oe', Œ: 'OE', ø: 'o', Ø: 'O' };
/** Spaces, signs, digits and letters as Unicode orders them; the rest comes after them. */
const RANKED = '\t\n\v\f\r _-,;:!?.\'"()[]{}@*/\\&#%`^+<=>|~$0123456789abcdefghijklmnopqrstuvwxyz';
/** Characters that count for nothing. */
const CONTROLS = /[\0-\x08\x0e-\x1f\x7f]/g;

const bare = (text) => text.normalize('NFD').replace(/\p{M}/gu, '').replace(/[ßẞæÆœŒøØ]/g, (letter) => PLAIN[letter]);
const byCode = (first, second) => (first < second ? -1 : first > second ? 1 : 0);

function rank(character) {
  const at = RANKED.indexOf(character);
  return at < 0 ? RANKED.length + character.charCodeAt(0) : at;
}

/** The order of two texts that have neither accents nor capitals. */
function order(first, second) {
  if (first === second) return 0;
  let at = 0;
  while (at < first.length && first[at] === second[at]) at += 1;
  if (at === first.length) return -1;
  return at === second.length ? 1 : Math.sign(rank(first[at]) - rank(second[at]));
}

/** The order of two texts: by letters first, then by accents, then by case. */
export function compare(one, other, { numeric = false, sensitivity = 'variant' } = {}) {
  const [first, second] = [one, other].map((text) => text.replace(CONTROLS, ''));
  const letters = numeric ? byNumbers(bare(first).toLowerCase(), bare(second).toLowerCase()) : order(bare(first).toLowerCase(), bare(second).toLowerCase());
  if (letters || sensitivity === 'base') return letters;
  const accents = byCode(first.normalize('NFD').toLowerCase(), second.normalize('NFD').toLowerCase());
  if (accents || sensitivity === 'accent') return accents;
  // Small letters come first.
  return -byCode(bare(first), bare(second));
}

function byNumbers(first, second) {
  const [a, b] = [first, second].map((text) => text.match(/\d+|\D/g) ?? []);
  for (let at = 0; at < Math.min(a.length, b.length); at += 1) {
    const different = /^\d/.test(a[at]) && /^\d/.test(b[at]) ? Number(a[at]) - Number(b[at]) : order(a[at], b[at]);
    if (different) return Math.sign(different);
  }
  return Math.sign(a.length - b.length);
}
