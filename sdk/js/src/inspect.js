// Node's own `util.format` and `util.inspect`.
import { lent } from './inspect-before.js';
import util from 'node-inspect-extracted';
import { dequal } from 'dequal';

for (const name of lent) delete globalThis[name];

export const { format, formatWithOptions, inspect, stripVTControlCharacters } = util;
export { dequal as isDeepStrictEqual };
