// Units of `Intl.NumberFormat`, as American English writes them.

/** Short names. */
const SHORT = {
  bit: 'bit', byte: 'byte', kilobit: 'kb', kilobyte: 'kB', megabit: 'Mb', megabyte: 'MB', gigabit: 'Gb', gigabyte: 'GB', terabit: 'Tb',
  terabyte: 'TB', petabyte: 'PB', nanosecond: 'ns', microsecond: 'μs', millisecond: 'ms', second: 'sec', minute: 'min', hour: 'hr', day: 'day', week: 'wk', month: 'mth', year: 'yr',
  millimeter: 'mm', centimeter: 'cm', meter: 'm', kilometer: 'km', inch: 'in', foot: 'ft', yard: 'yd', mile: 'mi', 'mile-scandinavian': 'smi', gram: 'g', kilogram: 'kg',
  ounce: 'oz', pound: 'lb', stone: 'st', liter: 'L', milliliter: 'mL', gallon: 'gal', 'fluid-ounce': 'fl oz', acre: 'ac', hectare: 'ha', celsius: '°C', fahrenheit: '°F',
  degree: 'deg', percent: '%',
};
/** Narrow names that are not the short ones. */
const NARROW = { byte: 'B', second: 's', minute: 'm', hour: 'h', day: 'd', week: 'w', month: 'm', year: 'y', inch: '″', foot: '′', pound: '#', fahrenheit: '°', degree: '°' };
/** Short names of which there may be several. */
const COUNTED = ['day', 'week', 'month', 'year'];
/** Long names with a plural of their own. */
const PLURALS = { inch: 'inches', foot: 'feet', stone: 'stones', percent: 'percent', 'fluid-ounce': 'fluid ounces', 'mile-scandinavian': 'miles-scandinavian', celsius: 'degrees Celsius', fahrenheit: 'degrees Fahrenheit' };
const SINGULARS = { 'fluid-ounce': 'fluid ounce', celsius: 'degree Celsius', fahrenheit: 'degree Fahrenheit' };
/** Short names that follow the number at once. */
const CLOSE = ['celsius', 'fahrenheit', 'percent'];
/** What stands below the line. */
const PER = { second: 's', hour: 'h', day: 'd', week: 'w', month: 'm', year: 'y' };
const PER_SHORT = { gallon: 'gal US' };
const PAIRS = { 'kilometer-per-hour': 'km/h', 'mile-per-hour': 'mph', 'mile-per-gallon': 'mpg' };

/** Refuses what is no unit. */
export function checkUnit(unit) {
  if (unit === undefined) throw new TypeError("Required unit argument missing with unit style: Intl.NumberFormat() ''");
  const parts = String(unit).split('-per-');
  if (parts.length > 2 || !parts.every((part) => Object.hasOwn(SHORT, part))) throw new RangeError(`Invalid unit argument for Intl.NumberFormat() '${unit}'`);
}

const long = (name, isOne) => (isOne ? (SINGULARS[name] ?? name) : (PLURALS[name] ?? `${name}s`));

/** The name of a unit beside a number: what lies between the two, and the name. */
export function unitBeside(unit, display, isOne) {
  const [name, per] = unit.split('-per-');
  if (display === 'long') return [' ', per ? `${long(name, isOne)} per ${long(per, true)}` : long(name, isOne)];
  const between = display === 'narrow' || CLOSE.includes(unit) ? '' : ' ';
  if (PAIRS[unit]) return [between, PAIRS[unit]];
  const short = display === 'narrow' ? (NARROW[name] ?? SHORT[name]) : COUNTED.includes(name) && !isOne ? `${SHORT[name]}s` : SHORT[name];
  const below = (display === 'short' ? PER_SHORT[per] : undefined) ?? PER[per] ?? SHORT[per];
  return [between, per ? `${short}/${below}` : short];
}
