import * as cheerio from 'cheerio';

export default async function () {
  const $ = cheerio.load('<ul id="l"><li class="a">One</li><li>Two <b>bold</b></li></ul>');
  $('#l').append('<li data-n="3">Three</li>');
  return { texts: $('li').map((_, item) => $(item).text()).get(), bold: $('li:has(b)').index(), html: $('#l').html() };
}
