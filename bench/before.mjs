// This build beside an older one: the median, over the rounds, of the ratio within a round. A round is short, so what
// else the machine does strikes both.

import { median, rounded } from './measure.mjs';

const pairs = { toril: 'before', 'toril-reuse': 'before-reuse' };

/** `runs` are those of the section throughput, by `PEER cCONCURRENCY`. */
export function ratiosToBefore(runs, { memory, startup }) {
  const found = {};
  for (const [name, ours] of Object.entries(runs)) {
    const [peer, c] = name.split(' ');
    const theirs = runs[`${pairs[peer]} ${c}`];
    if (!theirs) continue;
    const ratio = (figure) => rounded(median(ours.map((run, round) => run[figure] / theirs[round][figure])));
    found[name] = { jobsPerSecond: ratio('jobsPerSecond'), redisCpuMicros: ratio('redisCpuMicros'), workerCpuMicros: ratio('workerCpuMicros') };
  }
  const by = (figures, name) => rounded(figures.toril[name] / figures.before[name]);
  if (memory) found.memory = { idleMib: by(memory, 'idleMib'), perGuestKib: by(memory, 'perGuestKib') };
  if (startup) found.startup = { ms: by(startup, 'ms') };
  return found;
}

export const shownRatios = (found) =>
  Object.entries(found).map(([name, ratios]) => (
    `to the build before, ${name}: ${Object.entries(ratios).map(([figure, ratio]) => `${figure} ${ratio.toFixed(3)}`).join('  ')}`));
