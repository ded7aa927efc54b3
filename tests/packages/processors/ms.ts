import ms from 'ms';

export default async function () {
  return [ms('2.5 hrs'), ms('1d'), ms(60_000), ms(2 * 60_000, { long: true })];
}
