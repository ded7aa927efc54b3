import { addMonths, differenceInCalendarDays, eachDayOfInterval, format, formatDistance, parseISO } from 'date-fns';

export default async function () {
  const start = new Date(2026, 0, 31, 12);
  return {
    formatted: format(start, "yyyy-MM-dd'T'HH:mm EEEE do"),
    month: format(addMonths(start, 1), 'P'),
    days: differenceInCalendarDays(parseISO('2026-03-01'), start),
    distance: formatDistance(start, addMonths(start, 3)),
    week: eachDayOfInterval({ start, end: new Date(2026, 1, 2) }).length,
  };
}
