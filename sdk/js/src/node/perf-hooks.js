import { performance } from '../globals/performance.js';

export class PerformanceObserver {
  observe() {}

  disconnect() {}
}
export const constants = {};
export const monitorEventLoopDelay = () => ({ enable() {}, disable() {}, min: 0, max: 0, mean: 0, percentile: () => 0 });
export { performance };
export default { constants, monitorEventLoopDelay, performance, PerformanceObserver };
