// `structuredClone`.
import clone from '@ungap/structured-clone';
import { DOMException } from '../events/dom-exception.js';

/** Refuses what cannot be cloned in the words of the standard. */
function structuredClone(value, options) {
  try {
    return clone(value, { ...options, json: false, lossy: false });
  } catch (error) {
    throw new DOMException(error.message, 'DataCloneError');
  }
}

globalThis.structuredClone = structuredClone;
export { structuredClone };
