import '../globals/encoding.js';
import { format, formatWithOptions, inspect, isDeepStrictEqual, stripVTControlCharacters } from '../inspect.js';
import {
  aborted, callbackify, debug, debuglog, deprecate, getSystemErrorName, inherits, isArray, promisify, styleText, toUSVString,
} from './util-light.js';
import * as types from './util-types.js';

const { TextDecoder, TextEncoder } = globalThis;
const whole = {
  aborted, callbackify, debug, debuglog, deprecate, format, formatWithOptions, getSystemErrorName, inherits, inspect, isArray,
  isDeepStrictEqual, promisify, stripVTControlCharacters, styleText, TextDecoder, TextEncoder, toUSVString, types,
  // Gone from Node by now; packages still ask for them.
  isBoolean: (value) => typeof value === 'boolean',
  isNull: (value) => value === null,
  isNullOrUndefined: (value) => value === null || value === undefined,
  isNumber: (value) => typeof value === 'number',
  isString: (value) => typeof value === 'string',
  isSymbol: (value) => typeof value === 'symbol',
  isUndefined: (value) => value === undefined,
  isRegExp: types.isRegExp,
  isObject: (value) => value !== null && typeof value === 'object',
  isDate: types.isDate,
  isError: types.isNativeError,
  isFunction: (value) => typeof value === 'function',
  isPrimitive: (value) => value === null || !['object', 'function'].includes(typeof value),
};
export {
  aborted, callbackify, debug, debuglog, deprecate, format, formatWithOptions, getSystemErrorName, inherits, inspect, isArray,
  isDeepStrictEqual, promisify, stripVTControlCharacters, styleText, TextDecoder, TextEncoder, toUSVString, types,
};
export default whole;
