import { DateTime, Duration, Interval } from 'luxon';

export default async function () {
  const start = DateTime.fromISO('2026-01-31T10:00:00Z', { zone: 'utc' });
  const end = start.plus({ months: 1, hours: 3 });
  return {
    iso: end.toISO(),
    formatted: start.toFormat('yyyy LLL dd HH:mm'),
    hours: Interval.fromDateTimes(start, end).length('hours'),
    duration: Duration.fromObject({ minutes: 90 }).shiftTo('hours').toObject(),
    noon: DateTime.fromISO('2026-07-01T12:00', { zone: 'Europe/Berlin' }).toUTC().toISO(),
    late: start.setZone('Australia/Sydney').toISO(),
    nowhere: start.setZone('Mars/Olympus').isValid,
    invalid: DateTime.fromISO('nonsense').isValid,
  };
}
