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
  const wait = site.isAsync() ? 'async ' : '';
  return [name ? `    at ${wait}${name} (${place})` : `    at ${wait}${place}`];
}

/** The names of an error's own classes. Their constructors run, too, but nobody looks for an error in them. */
function classesOf(error) {
  const names = new Set();
  try {
    for (let of = Object.getPrototypeOf(error); of && of !== Error.prototype; of = Object.getPrototypeOf(of)) names.add(of.constructor.name);
  } catch {
    // A processor's getters may throw.
  }
  return names;
}

function prepare(error, sites) {
  const classes = classesOf(error);
  const thrown = sites.findIndex((site) => !classes.has(site.getFunctionName()));
  return [headOf(error), ...sites.slice(Math.max(thrown, 0)).flatMap(frame)].join('\n');
}

Error.prepareStackTrace = host.prepareStackTrace ?? prepare;

/** A text in which stacks may be, with the places of the source. */
export const withSources = (text) => (text.includes('processor.js:') ? host.mapStack(text) : text);
