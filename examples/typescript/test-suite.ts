// Tests in parallel: when a critical one fails, those that have not begun are removed.
import { Worker } from 'bullmq';

const connection = {};

new Worker(
  'test-runner',
  async job => {
    if (job.data.broken) throw new Error(`${job.data.type} tests failed`);
    return { passed: job.data.type };
  },
  { connection },
);

// ---------------------------------------------------------------------------------------------------------------------

const resultsWorker = new Worker('test-results', async job => {
  const failedChildren = await job.getFailedChildrenValues();

  if (Object.keys(failedChildren).length > 0) {
    // Critical test failed, stop remaining tests
    await job.removeUnprocessedChildren();

    return {
      status: 'failed',
      failedTests: failedChildren,
      message: 'Test suite aborted due to critical failure',
    };
  }

  // All tests passed
  const testResults = await job.getChildrenValues();
  return {
    status: 'passed',
    results: testResults,
  };
});
