// The job of the attempt that runs.

let job;

export const current = () => job;

export function setCurrent(value) {
  job = value;
}
