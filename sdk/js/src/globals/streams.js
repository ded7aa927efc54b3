// Web streams.
import * as streams from 'web-streams-polyfill';

Object.assign(globalThis, streams);
export * from 'web-streams-polyfill';
