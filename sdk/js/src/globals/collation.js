// `localeCompare` as in Node: QuickJS's own compares numbers of characters, so that all capitals come first.
import { ensureOrder } from '../intl/locale.js';
import { compare } from '../intl/order.js';

Object.defineProperty(String.prototype, 'localeCompare', {
  value: function localeCompare(other, locales, options) {
    ensureOrder(locales);
    return compare(String(this), String(other), options);
  },
  writable: true,
  configurable: true,
});
