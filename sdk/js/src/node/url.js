import { URL, URLSearchParams } from '../globals/url.js';
import legacy from 'url/';
import punycode from './punycode.js';

const { parse, resolve, resolveObject, Url } = legacy;
const domainToASCII = (domain) => punycode.toASCII(domain);
const domainToUnicode = (domain) => punycode.toUnicode(domain);
const format = (url, options) => {
  if (!(url instanceof URL)) return legacy.format(url);
  const shown = new URL(url.href);
  if (options?.fragment === false) shown.hash = '';
  if (options?.search === false) shown.search = '';
  if (options?.auth === false) [shown.username, shown.password] = ['', ''];
  return shown.href;
};
function fileURLToPath(url) {
  const { protocol, pathname } = typeof url === 'string' ? new URL(url) : url;
  if (protocol !== 'file:') throw new TypeError('The URL must be of scheme file');
  return decodeURIComponent(pathname);
}
const pathToFileURL = (path) => new URL(`file://${encodeURI(path).replace(/[?#]/g, encodeURIComponent)}`);
const urlToHttpOptions = ({ protocol, hostname, hash, search, pathname, href, port, username, password }) => ({
  protocol, hostname, hash, search, pathname, href, path: `${pathname}${search}`,
  ...(port === '' ? {} : { port: Number(port) }),
  ...(username || password ? { auth: `${decodeURIComponent(username)}:${decodeURIComponent(password)}` } : {}),
});

const whole = {
  domainToASCII, domainToUnicode, fileURLToPath, format, parse, pathToFileURL, resolve, resolveObject, Url, URL,
  URLSearchParams, urlToHttpOptions,
};
export {
  domainToASCII, domainToUnicode, fileURLToPath, format, parse, pathToFileURL, resolve, resolveObject, Url, URL,
  URLSearchParams, urlToHttpOptions,
};
export default whole;
