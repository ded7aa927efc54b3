import * as punycode from 'punycode/punycode.es6.js';

export * from 'punycode/punycode.es6.js';
export default punycode.default;
