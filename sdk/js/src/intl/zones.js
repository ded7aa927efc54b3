// Time zones of `Intl`: the engine has the rules of IANA. Names are American: `EST`, and `GMT+1` where America has none.
import { host } from '../host.js';

const UTC = ['UTC', 'GMT', 'GMT0', 'GMT+0', 'GMT-0', 'ETC/UTC', 'ETC/GMT', 'ETC/UCT', 'UCT', 'ZULU', 'ETC/ZULU', 'UNIVERSAL', 'ETC/UNIVERSAL'];
/** By the first letters of their abbreviations; the others are `S` or `D`, and `T`. */
const REGIONS = { A: 'Atlantic', E: 'Eastern', C: 'Central', M: 'Mountain', P: 'Pacific', AK: 'Alaska', H: 'Hawaii-Aleutian' };
const AMERICAN = /^(?:America|US|Canada|Mexico)\/|^Pacific\/(?:Honolulu|Johnston)$|^Atlantic\/Bermuda$|^(?:EST|MST|HST|Jamaica|Navajo)$|^[A-Z]{3}\d[A-Z]{3}$/;
/** Cuba's time has the abbreviation of the Central one. */
const OTHER = /Havana|Cuba/;
/** Their time has the abbreviation of the Mountain one, and no name. */
const NO_MOUNTAIN = /\/(?:Baja\w+|Dawson|Hermosillo|Mazatlan|Whitehorse|Yukon)$/;
const ALEUTIAN = /\/(?:Adak|Aleutian|Atka)$/;

const two = (number) => String(number).padStart(2, '0');

/** `GMT+1` or, in the long form, `GMT+01:00`. */
function distance(seconds, isLong) {
  const [sign, all] = [seconds < 0 ? '-' : '+', Math.abs(seconds)];
  const [hours, minutes, rest] = [Math.floor(all / 3600), Math.floor(all / 60) % 60, all % 60];
  const parts = isLong || minutes || rest ? [isLong ? two(hours) : hours, two(minutes)] : [hours];
  return `GMT${sign}${[...parts, ...(rest ? [two(rest)] : [])].join(':')}`;
}

/** What Americans call the time of a zone; undefined where they have no name. */
function americanName(zone, abbreviation, form) {
  const [, region, season] = /^(AK|[AECMPH])([SD])T$/.exec(abbreviation) ?? [];
  if (!region || !AMERICAN.test(zone) || OTHER.test(zone)) return undefined;
  if (region === 'M' && NO_MOUNTAIN.test(zone)) return undefined;
  if (form === 'short') return ALEUTIAN.test(zone) ? abbreviation.replace('H', 'HA') : abbreviation;
  return `${REGIONS[region]} ${season === 'D' ? 'Daylight' : 'Standard'} Time`;
}

function timeOf(zone, seconds, abbreviation = '') {
  const nameOf = (form) => {
    if (form === 'short' || form === 'long') {
      const american = americanName(zone, abbreviation, form);
      if (american) return american;
      if (abbreviation === 'GMT') return form === 'short' ? 'GMT' : 'Greenwich Mean Time';
    }
    return distance(seconds, form.startsWith('long'));
  };
  return { seconds, nameOf };
}

/** A zone's name, and what holds in it at a time: the distance from UTC and what it is called. */
export function zoneOf(given) {
  const name = given === undefined ? 'UTC' : String(given);
  if (UTC.includes(name.toUpperCase())) {
    const names = { short: 'UTC', long: 'Coordinated Universal Time' };
    return { name: 'UTC', at: () => ({ seconds: 0, nameOf: (form) => names[form] ?? distance(0, form.startsWith('long')) }) };
  }
  const [, sign, hours, minutes = '0'] = /^([+-])(\d\d):?(\d\d)?$/.exec(name) ?? [];
  if (sign) {
    const fixed = timeOf('', Number(`${sign}1`) * (Number(hours) * 3600 + Number(minutes) * 60));
    return { name: `${sign}${hours}:${two(minutes)}`, at: () => fixed };
  }
  const zone = host.zoneName(name);
  if (zone === undefined || zone === null) throw new RangeError(`Invalid time zone specified: ${name}`);
  return { name: zone, at: (time) => timeOf(zone, ...host.zoneAt(zone, time)) };
}
