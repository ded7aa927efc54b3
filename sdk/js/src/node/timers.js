import { clearImmediate, setImmediate } from '../globals/immediate.js';
import promises from './timers-promises.js';

const { clearInterval, clearTimeout, setInterval, setTimeout } = globalThis;
export { clearImmediate, clearInterval, clearTimeout, promises, setImmediate, setInterval, setTimeout };
export default { clearImmediate, clearInterval, clearTimeout, promises, setImmediate, setInterval, setTimeout };
