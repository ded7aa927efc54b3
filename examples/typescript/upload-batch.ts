// Uploads to several servers: when one fails, those that have not begun are cancelled, and the files of the others deleted.
import { Worker } from 'bullmq';

const connection = {};

const deleteFile = async (fileUrl: string) => console.log(`deleted ${fileUrl}`);

new Worker(
  'file-uploads',
  async job => {
    if (job.data.broken) throw new Error(`${job.data.server} does not answer`);
    return { fileUrl: `https://${job.data.server}.example/${job.id}` };
  },
  { connection },
);

// ---------------------------------------------------------------------------------------------------------------------

const uploadWorker = new Worker('uploads', async job => {
  const failedChildren = await job.getFailedChildrenValues();

  if (Object.keys(failedChildren).length > 0) {
    // One upload failed, cancel remaining uploads
    await job.removeUnprocessedChildren();

    // Clean up successfully uploaded files
    const childrenValues = await job.getChildrenValues();
    for (const [childKey, result] of Object.entries(childrenValues)) {
      await deleteFile(result.fileUrl);
    }

    throw new Error('Upload batch failed');
  }

  // All uploads succeeded
  return { status: 'success', batchId: job.data.batchId };
});
