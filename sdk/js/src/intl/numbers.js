// `Intl.NumberFormat` for American English.
import { ensureKnown, ensureNumbers, supportedLocalesOf } from './locale.js';
import { checkUnit, unitBeside } from './units.js';

const SYMBOLS = { USD: '$', EUR: '€', GBP: '£', JPY: '¥', INR: '₹', CNY: 'CN¥', KRW: '₩', BRL: 'R$', CAD: 'CA$', AUD: 'A$', MXN: 'MX$', ILS: '₪', VND: '₫' };
/** Currencies without hundredths. */
const WHOLE = ['JPY', 'KRW', 'VND', 'CLP', 'ISK', 'PYG', 'UGX', 'XAF', 'XOF'];
const COMPACT = [[1e12, 'T', 'trillion'], [1e9, 'B', 'billion'], [1e6, 'M', 'million'], [1e3, 'K', 'thousand']];

function digitsOf({ style, currency, notation, minimumFractionDigits: least, maximumFractionDigits: most }) {
  const money = style === 'currency' ? (WHOLE.includes(currency) ? 0 : 2) : undefined;
  const usual = money ?? (style === 'percent' || notation === 'compact' ? 0 : 3);
  const min = least ?? (most === undefined ? (money ?? 0) : Math.min(money ?? 0, most));
  const max = most ?? Math.max(min, usual);
  if (!(min >= 0 && max <= 100 && min <= max)) throw new RangeError('maximumFractionDigits value is out of range.');
  return { min, max };
}

const grouped = (digits) => digits.replace(/\B(?=(\d{3})+$)/g, ',');

/** Digits of a number from 0 on; halves are rounded away from zero, as they are written. */
function fixed(number, { min, max }) {
  const [whole, fraction = ''] = roundedText(number, max).split('.');
  const kept = fraction.replace(/0+$/, '').padEnd(min, '0');
  return [whole, kept];
}

function roundedText(number, digits) {
  const [mantissa, exponent = '0'] = String(number).split('e');
  if (Number(exponent) > 20) return BigInt(number).toString();
  const shifted = Math.round(Number(`${mantissa}e${Number(exponent) + digits}`));
  return Number.isSafeInteger(shifted) ? Number(`${shifted}e-${digits}`).toFixed(digits) : Number(number).toFixed(Math.min(digits, 20));
}

function significant(number, { minimumSignificantDigits: min = 1, maximumSignificantDigits: max = 21 }) {
  const [whole, fraction = ''] = String(Number(number.toPrecision(max))).split('.');
  const missing = min - (whole === '0' && fraction ? 0 : whole.length) - fraction.replace(/^0+/, '').length;
  return [whole, missing > 0 ? fraction + '0'.repeat(missing) : fraction];
}

export class NumberFormat {
  #options;
  #digits;

  constructor(locales, options = {}) {
    this.#options = { style: 'decimal', notation: 'standard', useGrouping: true, ...options };
    const { style, currency, notation } = this.#options;
    const isPlain = ['decimal', 'percent'].includes(style) && notation === 'standard';
    (isPlain ? ensureNumbers : ensureKnown)(locales);
    if (style === 'currency' && !currency) throw new TypeError('Currency code is required with currency style.');
    if (style === 'unit') checkUnit(this.#options.unit);
    if (currency) this.#options.currency = String(currency).toUpperCase();
    this.#digits = digitsOf(this.#options);
    this.format = (value) => this.formatToParts(value).map((part) => part.value).join('');
  }

  formatToParts(value) {
    const { style, notation } = this.#options;
    const number = typeof value === 'bigint' ? value : Number(value);
    const negative = number < 0 || Object.is(number, -0);
    const size = typeof number === 'bigint' ? (negative ? -number : number) : Math.abs(number) * (style === 'percent' ? 100 : 1);
    const compact = notation === 'compact' && COMPACT.find(([least]) => size >= least);
    const parts = this.#numberParts(size, compact);
    const { signDisplay = 'auto' } = this.#options;
    const plus = signDisplay === 'always' || (signDisplay === 'exceptZero' && size !== 0);
    const sign = negative && signDisplay !== 'never' ? [{ type: 'minusSign', value: '-' }] : plus ? [{ type: 'plusSign', value: '+' }] : [];
    return this.#styled(sign, parts);
  }

  #numberParts(size, compact) {
    if (Number.isNaN(size)) return [{ type: 'nan', value: 'NaN' }];
    if (size === Infinity) return [{ type: 'infinity', value: '∞' }];
    const { minimumIntegerDigits = 1, minimumSignificantDigits: min, maximumSignificantDigits: max, useGrouping, notation } = this.#options;
    const scaled = compact ? size / compact[0] : size;
    const short = notation === 'compact' && max === undefined && min === undefined ? { maximumSignificantDigits: scaled < 100 ? 2 : 3 } : undefined;
    const [whole, fraction] = typeof size === 'bigint' ? [String(size), ''] : min || max || short ? significant(scaled, short ?? this.#options) : fixed(scaled, this.#digits);
    const padded = whole.padStart(minimumIntegerDigits, '0');
    const groups = (useGrouping ? grouped(padded) : padded).split(',');
    const parts = groups.flatMap((value, at) => (at ? [{ type: 'group', value: ',' }, { type: 'integer', value }] : [{ type: 'integer', value }]));
    if (fraction) parts.push({ type: 'decimal', value: '.' }, { type: 'fraction', value: fraction });
    if (!compact) return parts;
    const long = this.#options.compactDisplay === 'long';
    return [...parts, ...(long ? [{ type: 'literal', value: ' ' }] : []), { type: 'compact', value: compact[long ? 2 : 1] }];
  }

  #styled(sign, parts) {
    const { style, currency, currencyDisplay = 'symbol', unit, unitDisplay } = this.#options;
    if (style === 'percent') return [...sign, ...parts, { type: 'percentSign', value: '%' }];
    if (style === 'unit') {
      const isOne = parts.length === 1 && parts[0].value === '1';
      const [literal, value] = unitBeside(unit, unitDisplay, isOne);
      return [...sign, ...parts, ...(literal ? [{ type: 'literal', value: literal }] : []), { type: 'unit', value }];
    }
    if (style !== 'currency') return [...sign, ...parts];
    const symbol = currencyDisplay === 'code' ? currency : (SYMBOLS[currency] ?? currency);
    const space = symbol === currency ? [{ type: 'literal', value: '\u00a0' }] : [];
    return [...sign, { type: 'currency', value: symbol }, ...space, ...parts];
  }

  resolvedOptions() {
    const { min, max } = this.#digits;
    return { locale: 'en-US', numberingSystem: 'latn', ...this.#options, minimumFractionDigits: min, maximumFractionDigits: max };
  }

  static supportedLocalesOf = supportedLocalesOf;
}
