import querystring from 'querystring-es3';

const { parse, stringify } = querystring;
const escape = encodeURIComponent;
const unescape = (text) => {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
};
const whole = { decode: parse, encode: stringify, escape, parse, stringify, unescape };
export { escape, parse, parse as decode, stringify, stringify as encode, unescape };
export default whole;
