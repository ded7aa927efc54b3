// Channels that nobody publishes to.

export class Channel {
  constructor(name) {
    this.name = name;
    this.hasSubscribers = false;
  }

  publish() {}

  subscribe() {}

  unsubscribe() {
    return false;
  }

  bindStore() {}

  runStores(_context, callback, self, ...args) {
    return callback.apply(self, args);
  }
}
const channels = new Map();
export function channel(name) {
  if (!channels.has(name)) channels.set(name, new Channel(name));
  return channels.get(name);
}
export const hasSubscribers = () => false;
export const subscribe = () => {};
export const unsubscribe = () => false;
export const tracingChannel = () => ({
  hasSubscribers: false,
  subscribe() {},
  unsubscribe() {},
  traceSync: (callback, _context, self, ...args) => callback.apply(self, args),
  tracePromise: (callback, _context, self, ...args) => callback.apply(self, args),
  traceCallback: (callback, _position, _context, self, ...args) => callback.apply(self, args),
});
export default { Channel, channel, hasSubscribers, subscribe, tracingChannel, unsubscribe };
