import { array, number, object, string } from 'yup';

const schema = object({ name: string().trim().required(), age: number().integer().min(0), tags: array(string().lowercase()) });

export default async function () {
  const cast = await schema.validate({ name: ' ann ', age: '5', tags: ['A'] });
  const errors = await schema.validate({ age: -1 }, { abortEarly: false }).catch((error) => error.errors);
  return { cast, errors };
}
