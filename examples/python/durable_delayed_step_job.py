# `delayed_step_job.py` with durable steps: while the job sleeps it holds no worker, and no attempt is spent.
from bullmq import Job, Worker


async def process(job: Job, token: str):
    await job.step("initial", lambda: print("initial step"))
    await job.sleep("rest", 200)
    await job.step("second", lambda: print("second step"))


worker = Worker("queueName", process, {"connection": {}})
