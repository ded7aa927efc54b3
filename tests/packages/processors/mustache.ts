import Mustache from 'mustache';

export default async function () {
  return Mustache.render('{{#people}}{{name}}: {{{note}}}{{^last}}, {{/last}}{{/people}}', { people: [{ name: '<a>', note: '<b>' }, { name: 'c', note: 'd', last: true }] });
}
