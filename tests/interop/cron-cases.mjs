// Cron patterns, time zones and start times, always the same ones for a seed: mostly valid ones, near changes of the
// clock more often than chance has it, and some that must be refused. And schedulers with them.
import { dice } from './random.mjs';

/**
 * Zones whose rules have been the same for years, so that the database of this Node and ours agree: both halves of the
 * world, changes at midnight, by two hours, and in the month of Ramadan.
 */
const MOVING = [
  'Europe/Berlin', 'europe/berlin', 'Europe/London', 'America/New_York', 'America/Los_Angeles', 'America/St_Johns',
  'Australia/Sydney', 'Pacific/Auckland', 'Pacific/Chatham', 'America/Santiago', 'America/Havana',
  'Asia/Beirut', 'Africa/Cairo', 'Atlantic/Azores', 'Asia/Jerusalem', 'Africa/Casablanca', 'Antarctica/Troll', 'CET',
  'EST5EDT', 'local', undefined,
];
const FIXED = [
  'utc', 'UTC', 'gmt', 'Asia/Tokyo', 'asia/kolkata', 'Asia/Kathmandu', 'Etc/GMT+5', 'EST', 'UTC+3', 'utc-8', 'UTC+05:30',
  'UTC-03:30', 'UTC+14', 'system', 'default', 'America/Sao_Paulo',
];
/** Zones that Node computes with quickly. */
const QUICK = ['utc', 'local', undefined, 'UTC+05:30', 'utc-8', 'UTC-03:30'];
const UNKNOWN = ['Mars/Olympus', 'UTC+5:3', 'UTC+', 'Europe', 'Z', ' utc'];

/** From the least to the greatest value of each field, in the order of a pattern. */
const FIELDS = {
  second: [0, 59],
  minute: [0, 59],
  hour: [0, 23],
  day: [1, 31],
  month: [1, 12],
  weekday: [0, 7],
};
const MONTHS = ['jan', 'FEB', 'Mar', 'apr', 'may', 'jun', 'JUL', 'aug', 'sep', 'oct', 'nov', 'dec'];
const WEEKDAYS = ['sun', 'MON', 'tue', 'Wed', 'thu', 'FRI', 'sat'];
const ALIASES = [
  '@yearly', '@annually', '@monthly', '@weekly', '@daily', '@hourly', '@minutely', '@secondly', '@weekdays', '@weekends',
  '@midnight', '@reboot', '@Daily',
];
const BROKEN = [
  'every day', 'FREQ=DAILY;INTERVAL=2', '* * * * * * *', '60 * * * *', '* 24 * * *', '* * 0 * *', '* * 32 * *',
  '* * * 13 *', '* * * 0 *', '* * * * 8', '5-1 * * * *', '0 22-2 * * *', '*/0 * * * *', '*/ * * * *', '/5 * * * *',
  '1/2/3 * * * *', '1,,2 * * * *', ', * * * *', '1,1 * * * *', '* * * * 0,7', '* * * * fri-sun', '* * * * L',
  '* * LW * *', '* * L-3 * *', '* * 15W * *', '* * * * 1#6', '* * * * 1#0', '* * * * 1,2#3', '* * * * 1#2#3',
  '* * 30 2 *', '* * 31 4 *', '* * * foo *', '* * * * monday', 'h * * * *', '-5 * * * *', '1.5 * * * *', '1 2 3 4 5 6 7',
  '   ', '~ * * * *', 'H(5-2) * * * *', 'H(70-80) * * * *', 'H/0 * * * *', '5+5 * * * *',
];
const ODD = [
  '', ' 5  4 * * * ', '5\t4 * * *', '0 0 ? ? ?', '? ? ? ? ? ?', '5/15 * * * *', '0/10 * * * * *', '30 0-4 * * *',
  '15 */2 * * *', '30 2 * * *', '0 2 * * *', '*/20 2 * * *', '30 1 * * *', '*/20 1 * * *', '0 0 * * *', '30 0 * * *',
  '30 0,23 * * *', '0 3 * * *', '30 2,3 * * *', '0 * * * *', '30 * * * *', '*/30 * * * *', '*/7 */5 * * *', '59 59 23 * * *',
  '0 0 L * *', '0 0 L 2 *', '0 0 1,L * *', '0 0 15L * *', '0 0 * * 5L', '0 0 * * 1L,5L', '0 0 * * 1,5L', '0 0 L * 1L',
  '0 0 * * FRI#2', '0 0 13 * 5#2', '0 0 * * *#3', '0 0 * * 7#1', '0 0 * * 1#5', '0 0 29 2 1', '0 0 31 * *',
  '0 0 30,31 2 1', '0 0 1 * 1', '0 0 */2 * 1', '0 0 1-31 * 1', '0 0 * * 0-6', '0 0 * * 1-7', '0 0 * * 5-7',
  '0 0 * * */2', '0 0 * * 0/3', '1-5-9 * * * *', '1* * * * *', '* * * * 3', '* 3', '3', '10 3 *', '12 0 1', '0 0 1 1 *',
  '0 0 * * sat,sun', '0 0 * jan-mar mon-fri', '0 0 12 * * SUN', '0 0 0 1 JAN ?', '* * * * * *', '*/15 * * * * *',
  '59 2 * * *', '0 0 * * 5-7L', '30,45 1-3 * * *', '*/45 1-3 * * *', '0 22-23/1 * * *', '0 0 * JUL JUL',
];
const HASHED = [
  'H H * * *', 'H * * * *', 'H/15 * * * *', 'H H H * *', 'H H * H *', 'H H * * H', 'H(0-29)/10 H(9-17) * * *', 'H H * * H/3',
  'H H H * * *', 'H(5-5) 3 * * *', 'H H H(1-28) * *', 'H/40 * * * *', '*/H * * * *', 'H,H/30 4 * * *', 'H(50-80) 1 * * *',
  'H H * * H/7', 'H H H(1-40)/50 * *', '0 H(0-2) * * *',
];

const FROM = Date.UTC(2024, 0, 1);
const UNTIL = Date.UTC(2036, 0, 1);
/** Less than clocks are changed apart. */
const STEP = 14 * 86_400_000;

/** Patterns that come seldom, which takes Node long to see, and changes of the clock by half an hour. */
const RARE = [
  ...['0 0 29 2 *', '0 0 L 2 1#5'].map((pattern) => ({ pattern, tz: 'utc', start: FROM })),
  // Back from 02:00 to 01:30.
  ...['*/15 * * * *', '40 1 * * *'].map((pattern) => howe(pattern, Date.UTC(2026, 3, 4, 13, 40))),
  // And forth, from 02:00 to 02:30.
  ...['*/15 * * * *', '15 2 * * *', '45 2 * * *', '0 2-3 * * *', '5 4 * * *', '0 0 * * *'].map((pattern) =>
    howe(pattern, Date.UTC(2026, 9, 3, 12, 10))),
];

function howe(pattern, start) {
  return { pattern, tz: 'Australia/Lord_Howe', start };
}

/**
 * Cases of { pattern, tz, start, hashSeed, strict }: `start` in ms since the epoch, `tz` left out where the schedule
 * names no zone.
 */
export function cronCases(seed, count) {
  const roll = dice(seed);
  const random = Array.from({ length: count - RARE.length }, () => {
    const { pattern, hashSeed, isSlow } = patternOf(roll);
    const tz = zoneOf(roll, isSlow && roll.chance(0.7));
    const strict = roll.chance(0.02) ? true : undefined;
    return { pattern, tz, start: startOf(roll, tz), hashSeed, strict };
  });
  return [...RARE, ...random];
}

function zoneOf(roll, isQuick) {
  if (isQuick) return roll.one(...QUICK);
  return roll.chance(0.02) ? roll.one(...UNKNOWN) : roll.one(...(roll.chance(0.8) ? MOVING : FIXED));
}

/** `isSlow`: Node may look at many days. */
function patternOf(roll) {
  const kind = roll.below(100);
  if (kind < 4) return { pattern: roll.one(...ALIASES) };
  if (kind < 9) return { pattern: roll.one(...BROKEN) };
  if (kind < 29) return { pattern: roll.one(...ODD), isSlow: true };
  if (kind < 34) return { pattern: roll.one(...HASHED), hashSeed: `seed ${roll.below(1000)}`, isSlow: true };
  if (kind < 49) return { pattern: `${timeField(roll, FIELDS.minute)} ${timeField(roll, [0, 4])} * * *` };
  return { pattern: randomPattern(roll), isSlow: true };
}

function timeField(roll, [min, max]) {
  const one = () => min + roll.below(max - min + 1);
  const [low, high] = [one(), one()].sort((a, b) => a - b);
  return roll.one('*', `${one()}`, `${low}-${high}`, low === high ? `${low}` : `${low},${high}`, `*/${1 + roll.below(4)}`, '0');
}

/** Five fields mostly, six often, fewer now and then. Days and months are seldom restricted, so that times come soon. */
function randomPattern(roll) {
  const names = Object.keys(FIELDS);
  const fields = names.map((name) => {
    const free = { second: 0.1, minute: 0.25, hour: 0.3, day: 0.7, month: 0.93, weekday: 0.7 }[name];
    return roll.chance(free) ? roll.one('*', '*', '*', '?') : list(roll, name);
  });
  const count = roll.chance(0.35) ? 6 : roll.chance(0.85) ? 5 : 1 + roll.below(4);
  const separator = roll.chance(0.05) ? '  ' : ' ';
  return fields.slice(6 - count).join(separator);
}

function list(roll, name) {
  if (!roll.chance(0.2)) return part(roll, name);
  // A value that is in a list twice is refused.
  if (roll.chance(0.15)) return `${part(roll, name)},${part(roll, name)}`;
  const [min, max] = FIELDS[name];
  const values = Array.from({ length: max - min }, (_, n) => min + n).filter(() => roll.chance(0.15));
  return values.join(',') || String(max);
}

function part(roll, name) {
  const [min, max] = FIELDS[name];
  const one = () => min + roll.below(max - min + 1);
  const named = (value) => {
    if (name === 'month' && roll.chance(0.3)) return MONTHS[value - 1];
    if (name === 'weekday' && roll.chance(0.3)) return WEEKDAYS[value % 7];
    return roll.chance(0.05) ? String(value).padStart(2, '0') : String(value);
  };
  let [low, high] = [one(), one()];
  // A range the wrong way round is refused.
  if (low > high && roll.chance(0.97)) [low, high] = [high, low];
  const step = 1 + roll.below(roll.chance(0.8) ? 7 : 70);
  if (name === 'day' && roll.chance(0.1)) return 'L';
  if (name === 'weekday' && roll.chance(0.1)) return `${named(one())}L`;
  if (name === 'weekday' && roll.chance(0.1)) return `${named(one())}#${1 + roll.below(5)}`;
  switch (roll.below(10)) {
    case 0: return `*/${step}`;
    case 1: return `${named(low)}/${step}`;
    case 2: return `${named(low)}-${named(high)}/${step}`;
    case 3: case 4: return `${named(low)}-${named(high)}`;
    case 5: return roll.chance(0.05) ? String(max + 1) : named(one());
    default: return named(one());
  }
}

/** Half of them within two days of a change of the clock, some on the hour and some with a fraction of a second. */
function startOf(roll, tz) {
  let time = FROM + roll.below((UNTIL - FROM) / 1000) * 1000;
  const change = roll.chance(0.6) ? changeOf(roll, tz) : undefined;
  if (change) time = change + (roll.below(2 * 86_400 * 1000) - 86_400 * 1000) * roll.one(2, 1, 0.2, 0.05);
  const unit = roll.one(1, 1000, 60_000, 600_000, 1_800_000, 3_600_000);
  return Math.floor(time / unit) * unit;
}

/** A change of the zone's clock in these years, to the minute; none where it never changes. */
function changeOf(roll, tz) {
  if (!changes.has(tz)) changes.set(tz, changesOf(tz));
  return roll.one(...changes.get(tz));
}

const changes = new Map();

function changesOf(tz) {
  if (!MOVING.includes(tz)) return [];
  const timeZone = tz === 'local' ? undefined : tz;
  const wall = new Intl.DateTimeFormat('en-US', { timeZone, dateStyle: 'short', timeStyle: 'medium', hourCycle: 'h23' });
  const offset = (ms) => Date.parse(`${wall.format(ms)} UTC`) - ms;
  const found = [];
  for (let low = FROM; low < UNTIL; low += STEP) {
    const before = offset(low);
    if (offset(low + STEP) === before) continue;
    let [still, changed] = [low, low + STEP];
    while (changed - still > 60_000) {
      const middle = Math.floor((still + changed) / 120_000) * 60_000;
      if (offset(middle) === before) still = middle;
      else changed = middle;
    }
    found.push(changed);
  }
  return found;
}

/**
 * Schedulers: `repeat` and `opts` as a producer hands them to BullMQ, `begin` is when it does, `late` is by how much
 * each job is picked up late, in ms: at least 1, as BullMQ loses a scheduler whose `immediately` is meant twice at once. `change` is what a producer in another language wrote differently.
 */
export function schedulers(seed, count) {
  const roll = dice(seed);
  return Array.from({ length: count }, (_, n) => {
    const begin = FROM + roll.below(UNTIL - FROM);
    const repeat = roll.chance(0.5) ? interval(roll) : cron(roll);
    if (roll.chance(0.3)) repeat.limit = 1 + roll.below(8);
    if (roll.chance(0.3)) repeat.endDate = dateOf(roll, begin + roll.below(6 * length(repeat)));
    if (roll.chance(0.3)) repeat.startDate = dateOf(roll, begin + roll.below(9 * length(repeat)) - 3 * length(repeat));
    else if (repeat.pattern && roll.chance(0.3)) repeat.immediately = true;
    const opts = roll.chance(0.5) ? {} : { attempts: 3, priority: 2, keepLogs: 5, removeOnComplete: 10 };
    const late = Array.from({ length: 8 }, () => 1 + roll.below(roll.chance(0.6) ? 50 : 5 * length(repeat)));
    const change = roll.chance(0.2) ? roll.one(...CHANGES[repeat.every ? 'interval' : 'cron']) : {};
    return { id: `scheduler-${n}`, repeat, opts, change, begin, late };
  });
}

/** What no producer of BullMQ's own writes into `repeat`, or a worker without the strategy cannot read. */
const CHANGES = {
  interval: [{ pattern: '* * * * *' }, { every: undefined }, { limit: 0 }, { pattern: 'every full moon', every: undefined }],
  cron: [
    { pattern: 'every full moon' },
    { tz: 'Mars/Olympus' },
    { every: 1000 },
    { pattern: undefined },
    { pattern: '*/7 * * * *', immediately: true, startDate: undefined },
    { immediately: true, startDate: 1 },
    { pattern: '5 H * * *', hashSeed: 'x', tz: 90 },
    { limit: 0 },
  ],
};

function interval(roll) {
  const every = roll.one(20, 1000, 7_001, 60_000, 86_400_000);
  return roll.chance(0.5) ? { every } : { every, offset: roll.below(every) };
}

function cron(roll) {
  const pattern = roll.one('* * * * * *', '*/20 * * * * *', '* * * * *', '7/15 * * * *', '@hourly', '30 2 * * *', '@daily', '0 9 1 * *');
  const tz = roll.one('Europe/Berlin', 'america/new_york', 'UTC+05:30', 'utc', undefined);
  return tz ? { pattern, tz } : { pattern };
}

/** About as long as it is from one job to the next, in ms. */
function length({ every, pattern }) {
  return every ?? { '* * * * * *': 1000, '*/20 * * * * *': 20_000, '* * * * *': 60_000 }[pattern] ?? 3_600_000;
}

function dateOf(roll, ms) {
  return roll.one(ms, new Date(ms), new Date(ms).toISOString());
}
