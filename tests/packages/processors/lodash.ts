import _ from 'lodash';

export default async function () {
  const people = [{ name: 'b', age: 2 }, { name: 'a', age: 1 }, { name: 'c', age: 2 }];
  return {
    grouped: _.mapValues(_.groupBy(people, 'age'), (group) => _.map(group, 'name')),
    sorted: _.orderBy(people, ['age', 'name'], ['desc', 'asc']).map(({ name }) => name),
    chunks: _.chunk(_.range(5), 2),
    deep: _.get(_.merge({ a: { b: 1 } }, { a: { c: [_.cloneDeep(new Map([[1, 2]])).get(1)] } }), 'a.c[0]'),
    text: _.template('hello <%= user %>')({ user: 'you' }),
    isEqual: _.isEqual({ a: [1, new Date(0)] }, { a: [1, new Date(0)] }),
    camel: _.camelCase('one two-three'),
  };
}
