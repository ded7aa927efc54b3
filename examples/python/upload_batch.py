# Uploads to several servers: when one fails, those that have not begun are cancelled, and the files of the others deleted.
# BullMQ's document has it in TypeScript.
from bullmq import Job, Worker

connection = {}


async def delete_file(file_url):
    print(f"deleted {file_url}")


async def upload(job: Job, token: str):
    if job.data.get("broken"):
        raise Exception(f"{job.data['server']} does not answer")
    return {"fileUrl": f"https://{job.data['server']}.example/{job.id}"}


async def finish_batch(job: Job, token: str):
    failed_children = await job.getFailedChildrenValues()

    if failed_children:
        # One upload failed, cancel remaining uploads
        await job.removeUnprocessedChildren()

        # Clean up successfully uploaded files
        children_values = await job.getChildrenValues()
        for result in children_values.values():
            await delete_file(result["fileUrl"])

        raise Exception("Upload batch failed")

    # All uploads succeeded
    return {"status": "success", "batchId": job.data["batchId"]}


upload_worker = Worker("file-uploads", upload, {"connection": connection})
batch_worker = Worker("uploads", finish_batch, {"connection": connection})
