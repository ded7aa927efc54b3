import { NIL, v1, v4, v5, v7, validate, version } from 'uuid';

export default async function () {
  const made = [v1(), v4(), v4(), v7()];
  return {
    versions: made.map(version),
    different: new Set(made).size,
    named: v5('toril', v5.URL),
    valid: [validate(made[1]), validate('x'), NIL],
  };
}
