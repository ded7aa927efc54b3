import Handlebars from 'handlebars';

Handlebars.registerHelper('loud', (text: string) => text.toUpperCase());
const template = Handlebars.compile('<ul>{{#each people}}<li>{{@index}} {{loud name}} &amp; {{note}}</li>{{else}}none{{/each}}</ul>');

export default async function () {
  return [template({ people: [{ name: 'ann', note: '<b>' }] }), template({})];
}
