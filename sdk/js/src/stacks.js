// Stacks as Node has them: they begin with the error. Their places are those of the script until somebody reads them: an
// error that is caught should cost little.
import { host } from './host.js';

/** Places of the engine that nobody can look at. */
const INNER = ['<input>', 'toril:engine'];

/** `Name: message`. Getters of a processor's errors may throw. */
export function headOf(error) {
  try {
    const { name = 'Error', message = '' } = error;
    return message === '' ? `${name}` : `${name}: ${message}`;
  } catch {
    return 'Error';
  }
}

function frame(site) {
  const file = site.getFileName();
  if (INNER.includes(file)) return [];
  const name = site.getFunctionName();
  const place = file === null ? 'native' : `${file}:${site.getLineNumber()}:${site.getColumnNumber()}`;
  return [name ? `    at ${name} (${place})` : `    at ${place}`];
}

function prepare(error, sites) {
  return [headOf(error), ...sites.flatMap(frame)].join('\n');
}

Error.prepareStackTrace = host.prepareStackTrace ?? prepare;

/** A text in which stacks may be, with the places of the source. */
export const withSources = (text) => (text.includes('processor.js:') ? host.mapStack(text) : text);
