// Prints chains of times that BullMQ computes: `node cron-chains.mjs SEED CASES PART PARTS LENGTH`, where PART counts
// from 0. A JSON array of { question, theirs }; `theirs` has `times`, or `refused` with the reason.
import { getNextMillis } from 'bullmq';
import { cronCases } from './cron-cases.mjs';

const [seed, cases, part, parts, length] = process.argv.slice(2).map(Number);

/**
 * BullMQ parses the pattern again for each job. `lost`: it finds no next time, or one that has passed; each pattern of
 * `cronCases` has times without end.
 */
function chain({ start, ...schedule }) {
  const times = [];
  try {
    for (let at = start; times.length < length; ) {
      const next = getNextMillis(at, schedule);
      if (!(next > at)) return { times, lost: true };
      times.push(next);
      at = next;
    }
  } catch (error) {
    return { refused: error.message };
  }
  return { times };
}

const questions = cronCases(seed, cases).filter((_, n) => n % parts === part);
console.log(JSON.stringify(questions.map((question) => ({ question, theirs: chain(question) }))));
