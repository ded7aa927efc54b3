// Returns at once; a job named `sleep` waits for as many milliseconds as its data say.
export default async (job: { name: string; data: number }) => {
  if (job.name === 'sleep') await new Promise((resolve) => setTimeout(resolve, job.data));
  return 1;
};
