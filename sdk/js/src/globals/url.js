// `URL` and `URLSearchParams`.
import URL from 'core-js-pure/stable/url';
import URLSearchParams from 'core-js-pure/stable/url-search-params';

Object.assign(globalThis, { URL, URLSearchParams });
export { URL, URLSearchParams };
