# `step_job.py` with durable steps: what an attempt has done, a retry does not do again, and the data stay as they are.
from bullmq import Job, Worker


async def process(job: Job, token: str):
    await job.step("initial", lambda: print("initial step"))
    await job.step("second", lambda: print("second step"))


worker = Worker("queueName", process, {"connection": {}})
