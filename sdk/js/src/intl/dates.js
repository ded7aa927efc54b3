// `Intl.DateTimeFormat` for American English, in UTC or at a fixed distance from it. The engine has no data of languages
// and time zones: others are refused.
import { host } from '../host.js';
import { ensureKnown, supportedLocalesOf } from './locale.js';

const MONTHS = 'January February March April May June July August September October November December'.split(' ');
const DAYS = 'Sunday Monday Tuesday Wednesday Thursday Friday Saturday'.split(' ');
const UTC = ['UTC', 'GMT', 'ETC/UTC', 'ETC/GMT', 'ETC/UCT', 'UCT', 'ZULU', 'ETC/ZULU'];
const DATE = ['weekday', 'year', 'month', 'day'];
const TIME = ['dayPeriod', 'hour', 'minute', 'second', 'fractionalSecondDigits'];
const OTHER = ['era', 'timeZoneName'];
const DATE_STYLES = {
  full: { weekday: 'long', month: 'long', day: 'numeric', year: 'numeric' },
  long: { month: 'long', day: 'numeric', year: 'numeric' },
  medium: { month: 'short', day: 'numeric', year: 'numeric' },
  short: { month: 'numeric', day: 'numeric', year: '2-digit' },
};
const TIME_STYLES = {
  full: { hour: 'numeric', minute: '2-digit', second: '2-digit', timeZoneName: 'long' },
  long: { hour: 'numeric', minute: '2-digit', second: '2-digit', timeZoneName: 'short' },
  medium: { hour: 'numeric', minute: '2-digit', second: '2-digit' },
  short: { hour: 'numeric', minute: '2-digit' },
};
const two = (number) => String(number).padStart(2, '0');

/** Zones whose absence was told. */
const told = new Set();

/** Libraries catch this error, and go on without a date (luxon has `null` then): the log says why. */
function unknownZone(name) {
  const why = `Invalid time zone specified: ${name} (a processor has no data of time zones, UTC and distances such as +02:00 alone; moment-timezone brings its own)`;
  if (/^[A-Za-z]+\/[A-Za-z_]+/.test(name) && !told.has(name) && told.size < 10) {
    told.add(name);
    host.logging.log('warn', why);
  }
  return new RangeError(why);
}

/** A zone's name and its distance from UTC in minutes. */
function zoneOf(name) {
  if (name === undefined || UTC.includes(String(name).toUpperCase())) return { name: 'UTC', offset: 0 };
  const [, sign, hours, minutes = '0'] = /^([+-])(\d\d):?(\d\d)?$/.exec(name) ?? [];
  if (!sign) throw unknownZone(name);
  return { name: `${sign}${hours}:${two(minutes)}`, offset: Number(`${sign}1`) * (Number(hours) * 60 + Number(minutes)) };
}

const DEFAULTS = { date: DATE.slice(1), time: TIME.slice(1, 4), all: [...DATE.slice(1), ...TIME.slice(1, 4)] };

/** The fields to show: those that were asked for, those of a style, or the date. */
function fieldsOf(options, what) {
  const { dateStyle, timeStyle } = options;
  if (dateStyle || timeStyle) return { ...DATE_STYLES[dateStyle], ...TIME_STYLES[timeStyle] };
  const asked = [...DATE, ...TIME, ...OTHER].filter((name) => options[name] !== undefined);
  if (asked.some((name) => !OTHER.includes(name))) return Object.fromEntries(asked.map((name) => [name, options[name]]));
  const other = Object.fromEntries(asked.map((name) => [name, options[name]]));
  return { ...Object.fromEntries(DEFAULTS[what].map((name) => [name, 'numeric'])), ...other };
}

const named = (names, at, form) => (form === 'long' ? names[at] : names[at].slice(0, form === 'narrow' ? 1 : 3));
const numeric = (number, form) => (form === '2-digit' ? two(number % 100) : String(number));

/** Parts with texts between them. */
function joined(parts, between) {
  return parts.flatMap((part, at) => (at ? [{ type: 'literal', value: between }, part] : [part]));
}
const literal = (value) => ({ type: 'literal', value });

function dateParts(date, { weekday, year, month, day, era }) {
  const parts = {
    weekday: weekday && { type: 'weekday', value: named(DAYS, date.getUTCDay(), weekday) },
    year: year && { type: 'year', value: numeric(date.getUTCFullYear(), year) },
    day: day && { type: 'day', value: numeric(date.getUTCDate(), day) },
    month: month && { type: 'month', value: numeric(date.getUTCMonth() + 1, month) },
  };
  const inWords = month && !['numeric', '2-digit'].includes(month);
  if (inWords) parts.month.value = named(MONTHS, date.getUTCMonth(), month);
  const { weekday: name, ...rest } = parts;
  const present = [rest.month, rest.day, rest.year].filter(Boolean);
  let shown = joined(present, '/');
  if (inWords) {
    const monthAndDay = joined([rest.month, rest.day].filter(Boolean), ' ');
    shown = rest.year ? [...monthAndDay, literal(rest.day ? ', ' : ' '), rest.year] : monthAndDay;
  }
  if (name) shown = shown.length ? [name, literal(', '), ...shown] : [name];
  return era ? [...shown, literal(' '), { type: 'era', value: era === 'long' ? 'Anno Domini' : 'AD' }] : shown;
}

function timeParts(date, { hour, minute, second, fractionalSecondDigits: digits }, twelve) {
  const parts = [];
  const hours = date.getUTCHours();
  if (hour) {
    const value = twelve ? hours % 12 || 12 : hours;
    parts.push({ type: 'hour', value: hour === '2-digit' || !twelve ? two(value) : String(value) });
  }
  if (minute) parts.push({ type: 'minute', value: hour || second ? two(date.getUTCMinutes()) : numeric(date.getUTCMinutes(), minute) });
  if (second) parts.push({ type: 'second', value: minute ? two(date.getUTCSeconds()) : numeric(date.getUTCSeconds(), second) });
  const shown = joined(parts, ':');
  if (digits) {
    const value = String(date.getUTCMilliseconds()).padStart(3, '0').slice(0, digits);
    shown.push(...(second ? [literal('.')] : []), { type: 'fractionalSecond', value });
  }
  if (hour && twelve) shown.push(literal('\u202f'), { type: 'dayPeriod', value: hours < 12 ? 'AM' : 'PM' });
  return shown;
}

export class DateTimeFormat {
  #zone;
  #fields;
  #options;
  #twelve;

  constructor(locales, options = {}, what = 'date') {
    ensureKnown(locales);
    this.#options = { ...options };
    this.#zone = zoneOf(options.timeZone);
    this.#fields = fieldsOf(options, what);
    this.#twelve = options.hour12 ?? (options.hourCycle ? ['h11', 'h12'].includes(options.hourCycle) : true);
    // The narrow space is in the parts alone, in Node, too.
    this.format = (date) => this.formatToParts(date).map(({ value }) => value).join('').replace('\u202f', ' ');
  }

  formatToParts(date = Date.now()) {
    const time = Number(date);
    if (!Number.isFinite(time)) throw new RangeError('Invalid time value');
    const local = new Date(time + this.#zone.offset * 60_000);
    const [day, clock] = [dateParts(local, this.#fields), timeParts(local, this.#fields, this.#twelve)];
    const between = ['full', 'long'].includes(this.#options.dateStyle) ? ' at ' : ', ';
    const parts = day.length && clock.length ? [...day, literal(between), ...clock] : [...day, ...clock];
    if (!this.#fields.timeZoneName) return parts;
    const { name } = this.#zone;
    const long = this.#fields.timeZoneName === 'long' && name === 'UTC' ? 'Coordinated Universal Time' : undefined;
    return [...parts, literal(' '), { type: 'timeZoneName', value: long ?? (name === 'UTC' ? name : `GMT${name}`) }];
  }

  formatRange(start, end) {
    return `${this.format(start)} – ${this.format(end)}`;
  }

  resolvedOptions() {
    const clock = this.#fields.hour ? { hourCycle: this.#twelve ? 'h12' : 'h23', hour12: this.#twelve } : {};
    const base = { locale: 'en-US', calendar: 'gregory', numberingSystem: 'latn', timeZone: this.#zone.name };
    return { ...base, ...clock, ...this.#fields };
  }

  static supportedLocalesOf = supportedLocalesOf;
}
