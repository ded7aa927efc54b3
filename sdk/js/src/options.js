// The options of a job by the names that producers give; Redis has some of them under short names.

const LONG_NAMES = {
  de: 'deduplication',
  fpof: 'failParentOnFailure',
  cpof: 'continueParentOnFailure',
  idof: 'ignoreDependencyOnFailure',
  kl: 'keepLogs',
  rdof: 'removeDependencyOnFailure',
};
const TELEMETRY = { tm: 'metadata', omc: 'omitContext' };

/** Stored options, JSON text, as a processor sees them. */
export function longOptions(text) {
  const stored = JSON.parse(text || '{}');
  const options = { attempts: 0 };
  if (stored === null || typeof stored !== 'object') return options;
  for (const [name, value] of Object.entries(stored)) {
    const telemetry = TELEMETRY[name];
    if (telemetry) options.telemetry = { ...options.telemetry, [telemetry]: value };
    else options[LONG_NAMES[name] ?? name] = value;
  }
  return options;
}

/** The JSON text of a job's data. BullMQ stores `{}` where there is none. */
export const dataText = (data) => JSON.stringify(data === undefined ? {} : data) ?? '{}';
