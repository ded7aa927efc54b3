import { customAlphabet, nanoid } from 'nanoid';

const digits = customAlphabet('0123456789', 12);

export default async function () {
  const ids = Array.from({ length: 50 }, () => nanoid());
  return { different: new Set(ids).size, length: ids[0].length, digits: /^\d{12}$/.test(digits()) };
}
