// Node's `util.types`, by the names that values carry.

const tagOf = (value) => Object.prototype.toString.call(value).slice(8, -1);
const is = (tag) => (value) => typeof value === 'object' && value !== null && tagOf(value) === tag;
const isTyped = (name) => (value) => ArrayBuffer.isView(value) && value[Symbol.toStringTag] === name;

export const isAnyArrayBuffer = (value) => is('ArrayBuffer')(value) || is('SharedArrayBuffer')(value);
export const isArgumentsObject = is('Arguments');
export const isArrayBuffer = is('ArrayBuffer');
export const { isView: isArrayBufferView } = ArrayBuffer;
export const isAsyncFunction = (value) => typeof value === 'function' && tagOf(value).startsWith('Async');
export const isBigInt64Array = isTyped('BigInt64Array');
export const isBigUint64Array = isTyped('BigUint64Array');
export const isBooleanObject = is('Boolean');
export const isBoxedPrimitive = (value) =>
  typeof value === 'object' && ['Boolean', 'Number', 'String', 'Symbol', 'BigInt'].includes(tagOf(value));
export const isDataView = is('DataView');
export const isDate = (value) => value instanceof Date;
export const isExternal = () => false;
export const isFloat32Array = isTyped('Float32Array');
export const isFloat64Array = isTyped('Float64Array');
export const isGeneratorFunction = (value) => typeof value === 'function' && tagOf(value).endsWith('GeneratorFunction');
export const isGeneratorObject = is('Generator');
export const isInt8Array = isTyped('Int8Array');
export const isInt16Array = isTyped('Int16Array');
export const isInt32Array = isTyped('Int32Array');
export const isMap = (value) => value instanceof Map;
export const isMapIterator = is('Map Iterator');
export const isModuleNamespaceObject = is('Module');
export const isNativeError = (value) => value instanceof Error;
export const isNumberObject = is('Number');
export const isPromise = (value) => value instanceof Promise;
export const isProxy = () => false;
export const isRegExp = (value) => value instanceof RegExp;
export const isSet = (value) => value instanceof Set;
export const isSetIterator = is('Set Iterator');
export const isSharedArrayBuffer = is('SharedArrayBuffer');
export const isStringObject = is('String');
export const isSymbolObject = is('Symbol');
export const isTypedArray = (value) => ArrayBuffer.isView(value) && !isDataView(value);
export const isUint8Array = isTyped('Uint8Array');
export const isUint8ClampedArray = isTyped('Uint8ClampedArray');
export const isUint16Array = isTyped('Uint16Array');
export const isUint32Array = isTyped('Uint32Array');
export const isWeakMap = (value) => value instanceof WeakMap;
export const isWeakSet = (value) => value instanceof WeakSet;
export const isKeyObject = () => false;
export const isCryptoKey = is('CryptoKey');
