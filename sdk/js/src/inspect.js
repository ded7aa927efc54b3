// Node's own `util.format` and `util.inspect`.
import util from 'node-inspect-extracted';
import { dequal } from 'dequal';

export const { format, formatWithOptions, inspect, stripVTControlCharacters } = util;
export { dequal as isDeepStrictEqual };
