// `performance`: times since the attempt began, or since the script was loaded while it is built.
import { host, phase } from '../host.js';

let origin;
const marks = [];

function begin() {
  origin ??= { loading: phase.loading };
  if (origin.at === undefined || origin.loading !== phase.loading) {
    origin = { loading: phase.loading, at: host.monotonicMs(), time: Date.now() };
  }
  return origin;
}

const now = () => host.monotonicMs() - begin().at;

function entry(entryType, name, startTime, duration, detail = null) {
  const made = { entryType, name: String(name), startTime, duration, detail };
  marks.push(made);
  return made;
}

const timeOf = (mark, otherwise) =>
  typeof mark === 'number' ? mark : (marks.findLast(({ name }) => name === mark)?.startTime ?? otherwise);

const performance = {
  now,
  get timeOrigin() {
    return begin().time;
  },
  mark: (name, { startTime = now(), detail } = {}) => entry('mark', name, startTime, 0, detail),
  measure(name, from, to) {
    const { start, end } = typeof from === 'object' && from !== null ? from : { start: from, end: to };
    const begins = timeOf(start, 0);
    return entry('measure', name, begins, timeOf(end, now()) - begins);
  },
  clearMarks: () => void marks.splice(0),
  clearMeasures: () => void marks.splice(0),
  getEntries: () => [...marks],
  getEntriesByName: (name) => marks.filter((mark) => mark.name === name),
  getEntriesByType: (type) => marks.filter((mark) => mark.entryType === type),
  toJSON: () => ({ timeOrigin: begin().time }),
};

Object.defineProperty(globalThis, 'performance', { value: performance, writable: true, configurable: true });
export { performance };
