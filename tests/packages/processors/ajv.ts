import Ajv from 'ajv';

const validate = new Ajv({ allErrors: true }).compile({
  type: 'object',
  properties: { name: { type: 'string', minLength: 2 }, age: { type: 'integer', minimum: 0 }, tags: { type: 'array', items: { type: 'string' }, uniqueItems: true } },
  required: ['name', 'age'],
  additionalProperties: false,
});

export default async function () {
  const good = validate({ name: 'ab', age: 1, tags: ['x'] });
  const bad = validate({ name: 'a', tags: ['x', 'x'], more: 1 });
  return { good, bad, errors: validate.errors?.map(({ keyword }) => keyword).sort() };
}
