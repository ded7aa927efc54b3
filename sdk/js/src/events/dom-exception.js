// `DOMException`, with the names that web interfaces use.

const CODES = {
  IndexSizeError: 1, HierarchyRequestError: 3, InvalidCharacterError: 5, NotFoundError: 8, NotSupportedError: 9,
  InvalidStateError: 11, SyntaxError: 12, InvalidAccessError: 15, TypeMismatchError: 17, SecurityError: 18,
  NetworkError: 19, AbortError: 20, URLMismatchError: 21, QuotaExceededError: 22, TimeoutError: 23, DataCloneError: 25,
};

class Exception extends Error {
  #name;

  constructor(message = '', options = 'Error') {
    const { name = 'Error', cause } = typeof options === 'object' ? options : { name: options };
    super(String(message), cause === undefined ? undefined : { cause });
    this.#name = String(name);
  }

  get name() {
    return this.#name;
  }

  get code() {
    return CODES[this.#name] ?? 0;
  }

  get [Symbol.toStringTag]() {
    return 'DOMException';
  }
}
Object.defineProperty(Exception, 'name', { value: 'DOMException' });

export const DOMException = globalThis.DOMException ?? Exception;
