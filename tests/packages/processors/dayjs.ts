import dayjs from 'dayjs';
import duration from 'dayjs/plugin/duration.js';
import relativeTime from 'dayjs/plugin/relativeTime.js';
import timezone from 'dayjs/plugin/timezone.js';
import utc from 'dayjs/plugin/utc.js';

dayjs.extend(utc);
dayjs.extend(timezone);
dayjs.extend(duration);
dayjs.extend(relativeTime);

export default async function () {
  const day = dayjs.utc('2026-01-31T10:00:00Z');
  return {
    next: day.add(1, 'month').format('YYYY-MM-DD dddd'),
    diff: day.diff(dayjs.utc('2025-12-31'), 'day'),
    duration: dayjs.duration({ hours: 26 }).humanize(),
    start: day.startOf('week').toISOString(),
    noon: dayjs.tz('2026-07-01 12:00', 'Europe/Berlin').toISOString(),
    early: day.tz('America/New_York').format('YYYY-MM-DD HH:mm Z'),
  };
}
