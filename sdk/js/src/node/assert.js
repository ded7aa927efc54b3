// Node's `assert`.
import { inspect, isDeepStrictEqual } from '../inspect.js';

const shown = (value) => inspect(value, { depth: 10, sorted: true });

export class AssertionError extends Error {
  constructor({ message, actual, expected, operator }) {
    super(message ?? `Expected ${operator}:\n\n${shown(actual)}\n\n${shown(expected)}\n`);
    this.name = 'AssertionError';
    this.code = 'ERR_ASSERTION';
    Object.assign(this, { actual, expected, operator, generatedMessage: message === undefined });
  }
}

function check(holds, message, actual, expected, operator) {
  if (holds) return;
  if (message instanceof Error) throw message;
  throw new AssertionError({ message, actual, expected, operator });
}

/** Equal with `==`, at any depth. */
function looselyEqual(first, second) {
  // eslint-disable-next-line eqeqeq
  if (first == second || (first !== first && second !== second)) return true;
  if (typeof first !== 'object' || typeof second !== 'object' || !first || !second) return false;
  if (first instanceof Date || first instanceof RegExp || first instanceof Map || first instanceof Set) {
    return isDeepStrictEqual(first, second);
  }
  const keys = Object.keys(first);
  return (
    Array.isArray(first) === Array.isArray(second) &&
    keys.length === Object.keys(second).length &&
    keys.every((key) => Object.hasOwn(second, key) && looselyEqual(first[key], second[key]))
  );
}

export function ok(value, message = 'The expression evaluated to a falsy value') {
  check(value, message, value, true, '==');
}
// eslint-disable-next-line eqeqeq
export const equal = (a, b, message) => check(a == b || (a !== a && b !== b), message, a, b, '==');
// eslint-disable-next-line eqeqeq
export const notEqual = (a, b, message) => check(a != b, message, a, b, '!=');
export const strictEqual = (a, b, message) => check(Object.is(a, b), message, a, b, 'strictEqual');
export const notStrictEqual = (a, b, message) => check(!Object.is(a, b), message, a, b, 'notStrictEqual');
export const deepEqual = (a, b, message) => check(looselyEqual(a, b), message, a, b, 'deepEqual');
export const notDeepEqual = (a, b, message) => check(!looselyEqual(a, b), message, a, b, 'notDeepEqual');
export const deepStrictEqual = (a, b, message) => check(isDeepStrictEqual(a, b), message, a, b, 'deepStrictEqual');
export const notDeepStrictEqual = (a, b, message) => check(!isDeepStrictEqual(a, b), message, a, b, 'notDeepStrictEqual');
export const match = (text, pattern, message) => check(pattern.test(text), message, text, pattern, 'match');
export const doesNotMatch = (text, pattern, message) => check(!pattern.test(text), message, text, pattern, 'doesNotMatch');
export function fail(message = 'Failed') {
  check(false, message, undefined, undefined, 'fail');
}
export function ifError(value) {
  if (value === null || value === undefined) return;
  throw value instanceof Error ? value : new AssertionError({ message: `ifError got unwanted exception: ${value}`, actual: value });
}

/** Is an error as it was expected: of a class, with a message, with properties, or as a function says. */
function asExpected(error, expected) {
  if (expected === undefined) return true;
  if (expected instanceof RegExp) return expected.test(String(error));
  if (typeof expected === 'object') {
    return Object.entries(expected).every(([key, value]) =>
      value instanceof RegExp && typeof error[key] === 'string' ? value.test(error[key]) : isDeepStrictEqual(error[key], value),
    );
  }
  if (expected.prototype !== undefined && error instanceof expected) return true;
  return !Error.isPrototypeOf(expected) && expected !== Error && expected.call({}, error) === true;
}

function thrown(error, expected, message) {
  if (!asExpected(error, expected)) throw typeof message === 'string' ? new AssertionError({ message, actual: error, expected }) : error;
}
const split = (expected, message) => (typeof expected === 'string' ? [undefined, expected] : [expected, message]);

export function throws(call, ...rest) {
  const [expected, message] = split(...rest);
  try {
    call();
  } catch (error) {
    return thrown(error, expected, message);
  }
  return check(false, message ?? 'Missing expected exception.', undefined, expected, 'throws');
}
export async function rejects(promise, ...rest) {
  const [expected, message] = split(...rest);
  try {
    await (typeof promise === 'function' ? promise() : promise);
  } catch (error) {
    return thrown(error, expected, message);
  }
  return check(false, message ?? 'Missing expected rejection.', undefined, expected, 'rejects');
}
export function doesNotThrow(call) {
  call();
}
export async function doesNotReject(promise) {
  await (typeof promise === 'function' ? promise() : promise);
}

const assert = Object.assign((value, message) => ok(value, message), {
  AssertionError, deepEqual, deepStrictEqual, doesNotMatch, doesNotReject, doesNotThrow, equal, fail, ifError, match,
  notDeepEqual, notDeepStrictEqual, notEqual, notStrictEqual, ok, rejects, strictEqual, throws,
});
export const strict = Object.assign((value, message) => ok(value, message), assert, {
  deepEqual: deepStrictEqual,
  equal: strictEqual,
  notDeepEqual: notDeepStrictEqual,
  notEqual: notStrictEqual,
});
strict.strict = strict;
assert.strict = strict;
export { assert };
export default assert;
