// Stands in for a module that is not available, where a package imports it: whatever is called of it throws.
import { missing } from './missing.js';

export function refused(module, why) {
  const members = new Map();
  const member = (name) => {
    if (!members.has(name)) {
      members.set(name, function refusedMember() {
        throw missing(`${name} of \`${module}\``, why);
      });
    }
    return members.get(name);
  };
  const proxy = new Proxy(
    {},
    {
      get: (_, name) => (typeof name === 'string' && name !== '__esModule' && name !== 'then' ? member(name) : undefined),
      has: (_, name) => typeof name === 'string',
    },
  );
  // Copies of the module that a bundler makes look its members up here.
  return Object.create(proxy);
}
