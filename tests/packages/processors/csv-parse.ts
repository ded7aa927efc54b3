import { parse } from 'csv-parse/sync';

export default async function () {
  return parse('name;note\nann;"one; ""two"""\nbob;3\n', { columns: true, delimiter: ';', cast: (value, { column }) => (column === 'note' && /^\d+$/.test(value) ? Number(value) : value) });
}
