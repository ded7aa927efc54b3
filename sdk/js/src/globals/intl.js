// `Intl` for American English: the engine has no data of other languages.
import { host } from '../host.js';
import { DateTimeFormat } from '../intl/dates.js';
import { canonicalOf, ensureKnown, ensureOrder, supportedLocalesOf } from '../intl/locale.js';
import { NumberFormat } from '../intl/numbers.js';
import { compare } from '../intl/order.js';

const LOCALE = 'en-US';

class Collator {
  static supportedLocalesOf = supportedLocalesOf;

  constructor(locales, { numeric = false, sensitivity = 'variant', caseFirst = 'false' } = {}) {
    ensureOrder(locales);
    this.compare = (first, second) => compare(`${first}`, `${second}`, { numeric, sensitivity });
    this.resolvedOptions = () => ({ locale: LOCALE, usage: 'sort', numeric, sensitivity, caseFirst, collation: 'default' });
  }
}
class PluralRules {
  static supportedLocalesOf = supportedLocalesOf;

  constructor(locales, { type = 'cardinal' } = {}) {
    ensureKnown(locales);
    this.select = (number) => (type === 'ordinal' ? ordinal(number) : number === 1 ? 'one' : 'other');
    this.resolvedOptions = () => ({ locale: LOCALE, type, pluralCategories: type === 'ordinal' ? ['few', 'one', 'two', 'other'] : ['one', 'other'] });
  }
}
function ordinal(number) {
  const [ones, tens] = [number % 10, number % 100];
  if (ones === 1 && tens !== 11) return 'one';
  if (ones === 2 && tens !== 12) return 'two';
  return ones === 3 && tens !== 13 ? 'few' : 'other';
}

class ListFormat {
  static supportedLocalesOf = supportedLocalesOf;

  constructor(locales, { type = 'conjunction', style = 'long' } = {}) {
    ensureKnown(locales);
    const word = type === 'disjunction' ? 'or' : style === 'long' ? 'and' : '&';
    this.format = (list) => {
      const items = [...list];
      if (type === 'unit' || items.length < 2) return items.join(', ');
      if (items.length === 2) return items.join(` ${word} `);
      return `${items.slice(0, -1).join(', ')}, ${word} ${items.at(-1)}`;
    };
    this.resolvedOptions = () => ({ locale: LOCALE, type, style });
  }
}

const NEAR = { day: { '-1': 'yesterday', 0: 'today', 1: 'tomorrow' } };
class RelativeTimeFormat {
  static supportedLocalesOf = supportedLocalesOf;

  constructor(locales, { numeric = 'always', style = 'long' } = {}) {
    ensureKnown(locales);
    this.format = (value, unit) => {
      const name = String(unit).replace(/s$/, '');
      if (numeric === 'auto') {
        const word = NEAR[name]?.[value] ?? { '-1': `last ${name}`, 0: `this ${name}`, 1: `next ${name}` }[value];
        if (word) return word;
      }
      const size = Math.abs(value);
      const shown = `${new NumberFormat().format(size)} ${name}${size === 1 ? '' : 's'}`;
      return value < 0 || Object.is(value, -0) ? `${shown} ago` : `in ${shown}`;
    };
    this.resolvedOptions = () => ({ locale: LOCALE, numeric, style, numberingSystem: 'latn' });
  }
}

/** A language by its name: its parts, and nothing that is known of it. */
class Locale {
  constructor(tag) {
    const [language, ...rest] = String(tag).split('-');
    this.baseName = String(tag);
    this.language = language;
    this.script = rest.find((part) => /^[A-Z][a-z]{3}$/.test(part));
    this.region = rest.find((part) => /^(?:[A-Z]{2}|\d{3})$/.test(part));
  }

  toString() {
    return this.baseName;
  }

  maximize() {
    return this;
  }
}

/** Names of languages, countries and currencies, which nobody has here. */
class DisplayNames {
  static supportedLocalesOf = supportedLocalesOf;

  constructor() {
    throw new RangeError('`Intl.DisplayNames` is not available in a processor: it has no names of languages, regions and currencies; a package in JavaScript alone has them (i18n-iso-countries)');
  }
}

/** What readers take for one character: letters with their marks, flags, pictures that are joined, syllables of Korean. */
const CHARACTER =
  /\r\n|\p{RI}{2}|\p{ExtPict}[\p{EMod}\p{M}\u200c\u{e0020}-\u{e007f}]*(?:\u200d\p{ExtPict}[\p{EMod}\p{M}\u200c\u{e0020}-\u{e007f}]*)*\u200d?|[\u1100-\u115f]*[\uac00-\ud7a3\u1160-\u11ff][\u1160-\u11ff]*[\p{M}\u200d]*|[^\r\n\p{Cc}][\p{M}\p{EMod}\u0e33\u0eb3\u200c\u200d\u{e0020}-\u{e007f}]*|[^]/gu;

/** Texts in characters and words. */
class Segmenter {
  constructor(locales, { granularity = 'grapheme' } = {}) {
    if (granularity !== 'grapheme') ensureKnown(locales);
    this.segment = (text) => {
      const found = granularity === 'word' ? (text.match(/[\p{L}\p{N}_']+|[^\p{L}\p{N}_']/gu) ?? []) : (text.match(CHARACTER) ?? []);
      let index = 0;
      return found.map((segment) => {
        const at = index;
        index += segment.length;
        return { segment, index: at, input: text, ...(granularity === 'word' ? { isWordLike: /[\p{L}\p{N}]/u.test(segment) } : {}) };
      });
    };
    this.resolvedOptions = () => ({ locale: LOCALE, granularity });
  }
}

/** In the standard these can be called without `new`. */
const callable = (type) => new Proxy(type, { apply: (_, __, args) => new type(...args) });

const Intl = {
  Collator: callable(Collator),
  DateTimeFormat: callable(DateTimeFormat),
  DisplayNames,
  ListFormat,
  Locale,
  NumberFormat: callable(NumberFormat),
  PluralRules,
  RelativeTimeFormat,
  Segmenter,
  getCanonicalLocales: canonicalOf,
  supportedValuesOf: (key) => (key === 'timeZone' ? host.zoneNames() : key === 'calendar' ? ['gregory'] : []),
  [Symbol.toStringTag]: 'Intl',
};
Object.defineProperty(globalThis, 'Intl', { value: Intl, writable: true, configurable: true });

const method = (prototype, name, value) => Object.defineProperty(prototype, name, { value, writable: true, configurable: true });
method(Number.prototype, 'toLocaleString', function toLocaleString(locales, options) {
  return new NumberFormat(locales, options).format(this);
});
method(BigInt.prototype, 'toLocaleString', function toLocaleString(locales, options) {
  return new NumberFormat(locales, options).format(BigInt(this));
});
for (const [name, what] of Object.entries({ toLocaleString: 'all', toLocaleDateString: 'date', toLocaleTimeString: 'time' })) {
  method(Date.prototype, name, function toLocale(locales, options) {
    if (Number.isNaN(this.getTime())) return 'Invalid Date';
    return new DateTimeFormat(locales, options, what).format(this);
  });
}
