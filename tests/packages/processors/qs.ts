import qs from 'qs';

export default async function () {
  return [qs.stringify({ a: [1, { b: 'ä' }], c: new Date(0) }, { arrayFormat: 'brackets' }), qs.parse('a[b][]=1&a[b][]=2&c=%20')];
}
