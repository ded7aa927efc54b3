// `Intl.DateTimeFormat` for American English, in all time zones. The engine has no data of other languages: they are refused.
import { ensureKnown, supportedLocalesOf } from './locale.js';
import { zoneOf } from './zones.js';

const MONTHS = 'January February March April May June July August September October November December'.split(' ');
const DAYS = 'Sunday Monday Tuesday Wednesday Thursday Friday Saturday'.split(' ');
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
    const { seconds, nameOf } = this.#zone.at(time);
    const local = new Date(time + seconds * 1000);
    const [day, clock] = [dateParts(local, this.#fields), timeParts(local, this.#fields, this.#twelve)];
    const between = ['full', 'long'].includes(this.#options.dateStyle) ? ' at ' : ', ';
    const parts = day.length && clock.length ? [...day, literal(between), ...clock] : [...day, ...clock];
    if (!this.#fields.timeZoneName) return parts;
    return [...parts, literal(clock.length ? ' ' : ', '), { type: 'timeZoneName', value: nameOf(this.#fields.timeZoneName) }];
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
