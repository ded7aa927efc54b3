// Constants of BullMQ that a file with a processor may name.

export const PRIORITY_LIMIT = 2 ** 21 - 1;

const MINUTES = {
  ONE_MINUTE: 1,
  FIVE_MINUTES: 5,
  FIFTEEN_MINUTES: 15,
  THIRTY_MINUTES: 30,
  ONE_HOUR: 60,
  ONE_WEEK: 10_080,
  TWO_WEEKS: 20_160,
  ONE_MONTH: 80_640,
};
export const MetricsTime = { ...MINUTES, ...Object.fromEntries(Object.entries(MINUTES).map(([name, value]) => [value, name])) };
