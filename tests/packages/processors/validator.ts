import validator from 'validator';

export default async function () {
  return {
    emails: ['a@example.com', 'no'].map((text) => validator.isEmail(text)),
    url: validator.isURL('https://example.com/x?y=1'),
    iban: validator.isIBAN('DE89370400440532013000'),
    card: validator.isCreditCard('4111111111111111'),
    escaped: validator.escape('<a href="x">'),
    iso: validator.isISO8601('2026-02-30', { strict: true }),
  };
}
