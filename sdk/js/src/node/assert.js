// Node's `assert`.
import { inspect, isDeepStrictEqual } from '../inspect.js';

/** As Node shows values in messages: one property in a line. */
const shown = (value) => inspect(value, { compact: false, customInspect: false, depth: 1000, sorted: true, maxArrayLength: Infinity, getters: true });

/** The most lines that are compared one by one. */
const LINES_MAX = 400;

/** How long the longest common part of what is left is, by what is left of each. */
function commonLengths(first, second) {
  const lengths = Array.from({ length: first.length + 1 }, () => new Uint16Array(second.length + 1));
  for (let i = first.length - 1; i >= 0; i -= 1) {
    for (let j = second.length - 1; j >= 0; j -= 1) {
      lengths[i][j] = first[i] === second[j] ? lengths[i + 1][j + 1] + 1 : Math.max(lengths[i + 1][j], lengths[i][j + 1]);
    }
  }
  return lengths;
}

/** The lines of two texts: those that one alone has are marked. */
function difference(actual, expected) {
  const [first, second] = [actual, expected].map((text) => text.split('\n').slice(0, LINES_MAX));
  const lengths = commonLengths(first, second);
  const lines = [];
  for (let [i, j] = [0, 0]; i < first.length || j < second.length; ) {
    if (first[i] === second[j] && i < first.length && j < second.length) {
      lines.push(`  ${first[i]}`);
      i += 1;
      j += 1;
    } else if (j === second.length || (i < first.length && lengths[i + 1][j] >= lengths[i][j + 1])) {
      lines.push(`+ ${first[i]}`);
      i += 1;
    } else {
      lines.push(`- ${second[j]}`);
      j += 1;
    }
  }
  return lines.join('\n');
}

const compared = (how) => (actual, expected) => {
  const [a, b] = [actual, expected].map(shown);
  const isShort = how === 'strictly equal' && !`${a}${b}`.includes('\n') && (typeof actual !== 'object' || !actual) && (typeof expected !== 'object' || !expected);
  if (isShort) return `Expected values to be strictly equal:\n\n${a} !== ${b}\n`;
  if (a === b) return `Values have same structure but are not reference-equal:\n\n${a}\n`;
  return `Expected values to be ${how}:\n+ actual - expected\n\n${difference(a, b)}`;
};
const unequal = (how) => (actual) => `Expected "actual" ${how}: ${shown(actual)}`;

/** Messages by operator, in Node's words. */
const MESSAGES = {
  '==': (a, b) => `${shown(a)} == ${shown(b)}`,
  '!=': (a, b) => `${shown(a)} != ${shown(b)}`,
  strictEqual: compared('strictly equal'),
  deepStrictEqual: compared('strictly deep-equal'),
  notStrictEqual: unequal('to be strictly unequal to'),
  notDeepStrictEqual: unequal('not to be strictly deep-equal to'),
  notDeepEqual: unequal('not to be loosely deep-equal to'),
  deepEqual: (a, b) => `Expected values to be loosely deep-equal:\n\n${shown(a)}\n\nshould loosely deep-equal\n\n${shown(b)}`,
  match: (a, b) => `The input did not match the regular expression ${shown(b)}. Input:\n\n${shown(a)}\n`,
  doesNotMatch: (a, b) => `The input was expected to not match the regular expression ${shown(b)}. Input:\n\n${shown(a)}\n`,
};

export class AssertionError extends Error {
  constructor({ message, actual, expected, operator }) {
    super(message ?? MESSAGES[operator]?.(actual, expected) ?? `${shown(actual)} ${operator} ${shown(expected)}`);
    this.name = 'AssertionError';
    this.code = 'ERR_ASSERTION';
    Object.assign(this, { actual, expected, operator, generatedMessage: message === undefined });
    this.stack = this.stack?.replace(/^(?:Assertion)?Error/, 'AssertionError [ERR_ASSERTION]');
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
