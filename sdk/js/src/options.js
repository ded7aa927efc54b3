// The options of a job by the names that producers give; Redis has some of them under short names.

const LONG_NAMES = {
  de: 'deduplication',
  fpof: 'failParentOnFailure',
  cpof: 'continueParentOnFailure',
  idof: 'ignoreDependencyOnFailure',
  kl: 'keepLogs',
  rdof: 'removeDependencyOnFailure',
};
/** Milliseconds stand for a fixed pause. */
export const backoffOf = (backoff) => (typeof backoff === 'number' ? { type: 'fixed', delay: backoff } : backoff);

const TELEMETRY = { tm: 'metadata', omc: 'omitContext' };

/** Stored options, JSON text, as a processor sees them. */
export function longOptions(text) {
  const stored = JSON.parse(text || '{}');
  const options = { attempts: 0 };
  if (stored === null || typeof stored !== 'object') return options;
  // The scheduler of a job stands in `job.repeatJobKey`, and not among what `job.opts` shows.
  const { repeatJobKey, ...shown } = stored;
  for (const [name, value] of Object.entries(shown)) {
    const telemetry = TELEMETRY[name];
    if (telemetry) options.telemetry = { ...options.telemetry, [telemetry]: value };
    else options[LONG_NAMES[name] ?? name] = name === 'backoff' ? backoffOf(value) : value;
  }
  return options;
}

/** The name of a job. BullMQ takes numbers, too, and nothing else. */
export function nameText(name) {
  if (typeof name !== 'string' && typeof name !== 'number') throw new TypeError(`the name of a job must be a string, not ${typeof name}`);
  return String(name);
}

/** BullMQ's scripts refuse such a number; JSON would make null of it, which is no option at all. */
function refuseNoNumber(name, value) {
  if (typeof value === 'number' && !Number.isFinite(value)) {
    throw new Error(`Cannot serialise number: must not be NaN or Inf (\`${name}\` is ${value})`);
  }
  return value;
}

/** The JSON text of options. Whatever options a processor gives pass here. */
export const optionsText = (options) => JSON.stringify(options, refuseNoNumber);

/** A job to be added, as the host takes it. */
export const newJob = (name, data, options) => ({ name: nameText(name), data: dataText(data), options: optionsText(options) });

/** A whole number of milliseconds, not below zero, from what BullMQ sends to its script as text: `null` and `true` are none. */
export function milliseconds(what, value) {
  const number = Number(String(value).trim() || NaN);
  if (!Number.isFinite(number)) throw new TypeError(`${what} must be a number of milliseconds`);
  return Math.max(0, Math.trunc(number));
}

/** For how long a key lives. Redis takes whole numbers above 0 that, added to the time, fit 63 bits. */
export function lifetime(what, value) {
  const text = String(value);
  const ms = Number(text);
  if (!/^[1-9]\d*$/.test(text) || ms + Date.now() >= 2 ** 63) throw new TypeError(`${what} must be a whole number of milliseconds above 0`);
  return ms;
}

/** The JSON text of a job's data. BullMQ stores `{}` where there is none. */
export const dataText = (data) => JSON.stringify(data === undefined ? {} : data) ?? '{}';
