// `Intl` for American English, beside Node's.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loaded, result } from './stand-in.mjs';

/** Runs the same code here and in a processor. */
async function same(code) {
  const body = `const utc = { timeZone: 'UTC' }; return ${code}`;
  const here = new Function(body)();
  assert.deepEqual(await result(body), JSON.parse(JSON.stringify(here)), code);
}

test('dates are written as Node writes them', async () => {
  const formats = [
    {}, { dateStyle: 'full', timeStyle: 'long' }, { dateStyle: 'medium' }, { dateStyle: 'short', timeStyle: 'short' },
    { weekday: 'short', month: 'long', day: 'numeric' }, { year: 'numeric', month: '2-digit', day: '2-digit' }, { month: 'short', year: 'numeric' },
    { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' }, { hour: 'numeric', minute: 'numeric', second: 'numeric', timeZoneName: 'short' },
    { year: 'numeric', month: 'numeric', day: 'numeric', hour: 'numeric', minute: '2-digit' }, { weekday: 'long' },
  ];
  const times = [0, 1_767_225_599_999, 1_700_000_000_123];
  await same(`${JSON.stringify(formats)}.map((options) => ${JSON.stringify(times)}.map((time) => new Intl.DateTimeFormat('en-US', { ...options, ...utc }).format(time)))`);
  await same("[new Date(5e12).toLocaleString('en-US', utc), new Date(5e12).toLocaleDateString('en-US', utc), new Date(5e12).toLocaleTimeString('en-US', utc)]");
  await same("new Intl.DateTimeFormat('en-US', { dateStyle: 'medium', timeStyle: 'short', ...utc }).formatToParts(0)");
  assert.deepEqual(await result('try { new Intl.DateTimeFormat("en", { timeZone: "Europe/Nowhere" }) } catch (e) { return [e.name, e.message] }'), ['RangeError', 'Invalid time zone specified: Europe/Nowhere']);
});

test('numbers are written as Node writes them', async () => {
  const formats = [
    {}, { style: 'currency', currency: 'usd' }, { style: 'currency', currency: 'JPY' }, { style: 'currency', currency: 'CHF' }, { style: 'percent', maximumFractionDigits: 1 },
    { minimumFractionDigits: 2, maximumFractionDigits: 2 }, { maximumFractionDigits: 0 }, { useGrouping: false }, { notation: 'compact' }, { minimumIntegerDigits: 3 },
  ];
  const numbers = [0, 1, -1234.5, 1234567.891, 0.005, 2.345, 150.75];
  await same(`${JSON.stringify(formats)}.map((options) => ${JSON.stringify(numbers)}.map((number) => new Intl.NumberFormat('en-US', options).format(number)))`);
  await same("[(1234.5).toLocaleString('en-US'), 12345678901234567890n.toLocaleString('en-US'), NaN.toLocaleString('en-US')]");
});

test('lists, plurals, distances and order are English', async () => {
  await same("[[], ['a'], ['a', 'b'], ['a', 'b', 'c']].map((list) => new Intl.ListFormat('en').format(list))");
  await same("[1, 2, 3, 11, 21].map((n) => [new Intl.PluralRules('en').select(n), new Intl.PluralRules('en', { type: 'ordinal' }).select(n)])");
  await same("[[-1, 'day'], [2, 'weeks'], [0, 'day']].map(([n, unit]) => [new Intl.RelativeTimeFormat('en', { numeric: 'auto' }).format(n, unit), new Intl.RelativeTimeFormat('en').format(n, unit)])");
  await same("['b', 'a', 'B', 'á', 'A', 'item 10', 'item 9'].sort(new Intl.Collator('en', { numeric: true }).compare)");
});

test('texts of another language are refused: American ones in their place would look right', async () => {
  const refused = [
    "new Date(0).toLocaleDateString('de-DE')", "new Date(0).toLocaleString(['fr', 'de'])", "(1.5).toLocaleString('de-DE')", "1n.toLocaleString('hi')",
    "new Intl.NumberFormat('en-IN').format(1e7)", "Intl.DateTimeFormat('en-GB').format(0)", "new Intl.PluralRules('pl').select(2)",
    "new Intl.ListFormat('es').format(['a'])", "new Intl.RelativeTimeFormat('sv').format(1, 'day')", "new Intl.Collator('sv')", "'a'.localeCompare('b', 'es')",
    "new Intl.NumberFormat('en-AU', { style: 'currency', currency: 'AUD' })", "new Intl.Collator('de-u-co-phonebk')",
  ];
  for (const code of refused) {
    const [name, message] = await result(`try { return [${code}, ''] } catch (e) { return [e.name, e.message] }`);
    assert.equal(name, 'RangeError', code);
    assert.match(message, /^the locale `[\w-]+` is not available in a processor: .*\(`en-US`\); write/, code);
  }
  await same("[(1234.5).toLocaleString(['de-XX', 'en'].slice(1)), (1234.5).toLocaleString('en-GB'), new Intl.NumberFormat('en-US-u-nu-latn').format(1234.5)]");
  await same("[Intl.DateTimeFormat.supportedLocalesOf(['en-US']), Intl.getCanonicalLocales('en-US')]");
  assert.deepEqual(await result("return Intl.NumberFormat.supportedLocalesOf(['de', 'en-US', 'fr'])"), ['en-US']);
});

test('times of other zones are written as Node writes them', async () => {
  const times = [0, 1_700_000_000_123, 1_720_000_000_000];
  const zones = ['Europe/Berlin', 'america/new_york', 'Asia/Kolkata', 'Pacific/Honolulu', 'America/Halifax', 'Europe/London'];
  const options = [{ dateStyle: 'short', timeStyle: 'long' }, { hour: 'numeric', timeZoneName: 'shortOffset' }, { day: 'numeric', timeZoneName: 'longOffset' }];
  const format = '(timeZone, options, time) => new Intl.DateTimeFormat("en-US", { ...options, timeZone }).format(time)';
  await same(`((format) => ${JSON.stringify(zones)}.map((zone) => ${JSON.stringify(options)}.map((each) => ${JSON.stringify(times)}.map((time) => format(zone, each, time)))))(${format})`);
  await same("[new Date(0).toLocaleString('en-US', { timeZone: 'Asia/Tokyo' }), new Date(0).toLocaleTimeString('en-US', { timeZone: 'America/Chicago', timeZoneName: 'long' })]");
});

test('texts are sorted as in Node', async () => {
  const words = JSON.stringify(['b', 'a', 'C', 'B', 'á', 'A', 'Z', 'z', 'Äpfel', 'zebra', 'ähnlich', 'item 10', 'item 9', '1', '']);
  await same(`${words}.sort((one, other) => one.localeCompare(other))`);
  await same(`${words}.sort((one, other) => one.localeCompare(other, 'de', { numeric: true }))`);
  await same(`${words}.map((word) => word.localeCompare('A', undefined, { sensitivity: 'base' }))`);
  const letters = ['straße', 'strasz', 'strasse', 'STRASSE', 'Straße', 'æble', 'bob', 'ae', 'AE', 'Æ', 'az', 'øl', 'ol', 'Øl', 'ö', 'ø', 'p', 'œuvre', 'oeuvre', 'ẞ', 'ß', 'SS'];
  const signs = ['a-b', 'a b', 'ab', 'a_b', 'a1', 'a$', 'a', 'A$', 'item-10', 'item 9', 'item 10', 'x.y', 'x/y', 'x1', '$1', '10', '9', '(a)', '\u0001a'];
  for (const options of [{}, { numeric: true }, { sensitivity: 'base' }, { sensitivity: 'accent' }]) {
    await same(`((all) => all.flatMap((one) => all.map((other) => one.localeCompare(other, 'en', ${JSON.stringify(options)}))))(${JSON.stringify([...letters, ...signs])})`);
  }
  const ascii = 'Array.from({ length: 128 }, (_, code) => String.fromCharCode(code))';
  await same(`((all) => all.flatMap((one) => all.map((other) => one.localeCompare(other))))(${ascii})`);
});

test('units are written as Node writes them', async () => {
  const units = [
    ...Intl.supportedValuesOf('unit'), 'kilometer-per-hour', 'mile-per-hour', 'meter-per-second', 'liter-per-kilometer', 'gigabyte-per-second', 'mile-per-gallon',
    'byte-per-day', 'liter-per-gallon', 'gram-per-fluid-ounce',
  ];
  await same(`${JSON.stringify(units)}.map((unit) => ['short', 'long', 'narrow'].map((unitDisplay) => [1, 2, 1.5].map((n) => new Intl.NumberFormat('en-US', { style: 'unit', unit, unitDisplay }).format(n))))`);
  const [name, message] = await result("try { new Intl.NumberFormat('en-US', { style: 'unit', unit: 'bucket' }) } catch (e) { return [e.name, e.message] }");
  assert.deepEqual([name, message], ['RangeError', "Invalid unit argument for Intl.NumberFormat() 'bucket'"]);
  assert.equal(await result("try { new Intl.NumberFormat('en-US', { style: 'unit', unit: 'toString' }) } catch (e) { return e.name }"), 'RangeError');
});

test('a text has the characters that a reader sees', async () => {
  const texts = ['ab', 'e\u0301', '\u{1f468}\u200d\u{1f469}\u200d\u{1f467}!', '\u{1f1e9}\u{1f1ea}\u{1f1eb}', 'a\r\nb\n', '\u{1f44d}\u{1f3fd}', '\u2764\ufe0f', '1\ufe0f\u20e3', '\uac01\u1100\u1161', '\u0e01\u0e33', ''];
  await same(`${JSON.stringify(texts)}.map((text) => [...new Intl.Segmenter('en', { granularity: 'grapheme' }).segment(text)].map(({ segment, index }) => [segment, index]))`);
});

test('tags of languages are spelled as Node spells them', async () => {
  await same("Intl.getCanonicalLocales(['EN-us', 'en-US', 'zh-hant-tw', 'DE', 'en-us-U-CO-phonebk'])");
  const [name] = await result("try { Intl.getCanonicalLocales('no_tag') } catch (e) { return [e.name] }");
  assert.equal(name, 'RangeError');
});

test('names of regions and languages are refused by name', async () => {
  const [name, message] = await result("try { new Intl.DisplayNames(['en'], { type: 'region' }) } catch (e) { return [e.name, e.message] }");
  assert.equal(name, 'RangeError');
  assert.match(message, /^`Intl.DisplayNames` is not available in a processor: /);
});
