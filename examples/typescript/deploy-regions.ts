// Deployments to several regions: when one fails, those that have not begun are cancelled, and the others rolled back.
import { Worker } from 'bullmq';

const connection = {};

const rollbackDeployment = async (region: string) => console.log(`rolled back ${region}`);

new Worker(
  'deploy-region',
  async job => {
    if (job.data.broken) throw new Error(`${job.data.region} refused the deployment`);
    return { region: job.data.region };
  },
  { connection },
);

// ---------------------------------------------------------------------------------------------------------------------

const deploymentWorker = new Worker('deployments', async job => {
  const failedChildren = await job.getFailedChildrenValues();

  if (Object.keys(failedChildren).length > 0) {
    // One deployment failed, cancel pending and rollback successful
    await job.removeUnprocessedChildren();

    // Rollback successful deployments
    const successfulDeployments = await job.getChildrenValues();
    for (const [childKey, result] of Object.entries(successfulDeployments)) {
      await rollbackDeployment(result.region);
    }

    throw new Error(`Deployment failed in: ${Object.keys(failedChildren).join(', ')}`);
  }

  return { status: 'deployed', version: job.data.version };
});
