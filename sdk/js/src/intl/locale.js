// The one language that there is data of. In Node another one would give other texts: American ones in their place would be
// wrong and look right.

const AMERICAN = /^(?:en|en-us|en-us-posix|en-latn|en-latn-us|und)(?:-u-.*)?$/i;

/** Locales that write plain numbers in the same way. */
const SAME_NUMBERS = /^en-(?:au|ca|gb|ie|nz)(?:-u-.*)?$/i;
/** Languages that sort as all do that have no letters of their own. */
const SAME_ORDER = /^(?:en|de|fr|ga|id|it|ms|nl|pt)(?:-(?!ca\b|u-)\w+)*$/i;

const isKnown = (locale) => AMERICAN.test(locale);

/** Locales as texts. */
export function listOf(locales) {
  if (locales === undefined) return [];
  if (locales === null) throw new TypeError('Cannot convert undefined or null to object');
  return (typeof locales === 'object' && typeof locales[Symbol.iterator] === 'function' ? [...locales] : [locales]).map(String);
}

/** A tag as it is spelled: the language small, the script with a capital, the region in capitals. */
function canonical(tag) {
  if (!/^[a-z]{2,8}(?:-[a-z\d]{1,8})*$/i.test(tag)) throw new RangeError(`Incorrect locale information provided`);
  const [language, ...rest] = tag.toLowerCase().split('-');
  const extension = rest.findIndex((part) => part.length === 1);
  const spelled = (part, at) => {
    if (extension >= 0 && at >= extension) return part;
    if (/^[a-z]{4}$/.test(part)) return part[0].toUpperCase() + part.slice(1);
    return /^[a-z]{2}$/.test(part) ? part.toUpperCase() : part;
  };
  return [language, ...rest.map(spelled)].join('-');
}

export const canonicalOf = (locales) => [...new Set(listOf(locales).map(canonical))];

export const supportedLocalesOf = (locales) => listOf(locales).filter(isKnown);

/** Refuses a list of locales of which none is known; none at all stands for that of the machine. */
export function ensureKnown(locales, alike = AMERICAN) {
  const asked = listOf(locales);
  if (asked.length === 0 || asked.some((locale) => isKnown(locale) || alike.test(locale))) return;
  throw new RangeError(
    `the locale \`${asked[0]}\` is not available in a processor: it has the texts of American English alone (\`en-US\`); write dates and numbers with a package that brings its own texts (date-fns, dayjs, numbro), or where they are shown`,
  );
}

export const ensureNumbers = (locales) => ensureKnown(locales, SAME_NUMBERS);
export const ensureOrder = (locales) => ensureKnown(locales, SAME_ORDER);
