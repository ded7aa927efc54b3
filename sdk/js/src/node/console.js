import console from '../globals/console.js';

export const { assert, count, debug, dir, error, group, groupEnd, info, log, table, time, timeEnd, trace, warn, Console } = console;
export default console;
