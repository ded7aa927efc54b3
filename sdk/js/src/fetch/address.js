// Addresses of requests, without the weight of a whole `URL`: `http` and `https`, absolute, or relative to another one.

const PARTS = /^(https?):\/\/([^/?#]+)([^?#]*)(\?[^#]*)?(?:#.*)?$/i;
/** What a path or a query may have as it is; all else is written as %XX. */
const ESCAPED = /[^\w\-.~!$&'()*+,;=:@/?%[\]|^{}`\\]/gu;

/** Half of a surrogate pair. */
const HALF = /[\ud800-\udfff]/u;

const invalid = (url, cause) => new TypeError(`Failed to parse URL from ${url}`, { cause });

const ADVICE = { data: 'decode what stands behind the comma', file: 'import the file', blob: 'read the `Blob`' };

/** In Node `data:` and `blob:` can be fetched. */
function otherScheme(scheme) {
  const advice = ADVICE[scheme] ? `; ${ADVICE[scheme]} instead` : '';
  return new TypeError('fetch failed', { cause: new Error(`a processor fetches \`http:\` and \`https:\` alone, not \`${scheme}:\`${advice}`) });
}

function escape(text) {
  return text.replace(ESCAPED, (character) => encodeURIComponent(HALF.test(character) ? '\ufffd' : character));
}

/** A path without `.` and `..`. */
function plainPath(path) {
  const segments = [];
  const all = path.split('/').slice(1);
  all.forEach((segment, at) => {
    const last = at === all.length - 1;
    const name = segment.replace(/%2e/gi, '.');
    if (name === '..') segments.pop();
    if (name !== '.' && name !== '..') segments.push(segment);
    else if (last) segments.push('');
  });
  return `/${segments.join('/')}`;
}

/** The parts of an absolute address: scheme, authority, path with query. */
export function parse(url) {
  const text = String(url).trim();
  const found = PARTS.exec(text);
  const other = /^([a-z][a-z\d+.-]*):/i.exec(text)?.[1].toLowerCase();
  if (other && other !== 'http' && other !== 'https') throw otherScheme(other);
  if (!found) throw invalid(url);
  const [, scheme, authority, path, query = ''] = found;
  if (authority.includes('@')) throw new TypeError(`Request cannot be constructed from a URL that includes credentials: ${authority.replace(/.*@/, '')}`);
  if (!/^[\w\-.~:[\]]+$/.test(authority)) throw invalid(url, new Error('the host has characters that need `new URL()`'));
  return {
    scheme: scheme.toLowerCase(),
    authority: authority.toLowerCase().replace(scheme.length === 5 ? /:443$/ : /:80$/, ''),
    pathWithQuery: escape(plainPath(path || '/') + query),
  };
}

export const toText = ({ scheme, authority, pathWithQuery }) => `${scheme}://${authority}${pathWithQuery}`;
export const originOf = ({ scheme, authority }) => `${scheme}://${authority}`;

/** An address that stands relative to another one, as in the header `location`. */
export function resolve(base, location) {
  const reference = String(location).trim().replace(/#.*$/, '');
  if (/^[a-z][a-z\d+.-]*:/i.test(reference)) return reference;
  if (reference.startsWith('//')) return `${base.scheme}:${reference}`;
  if (reference.startsWith('/')) return originOf(base) + reference;
  const [path] = base.pathWithQuery.split('?');
  if (reference.startsWith('?')) return originOf(base) + path + reference;
  if (reference === '') return toText(base);
  return originOf(base) + path.slice(0, path.lastIndexOf('/') + 1) + reference;
}
