import '../globals/streams.js';
import * as streams from 'web-streams-polyfill';

export * from 'web-streams-polyfill';
export default streams;
