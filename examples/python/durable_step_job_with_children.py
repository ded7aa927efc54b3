# `step_job_with_children.py` with durable steps: each child is a call, and the job waits for it before it goes on.
from bullmq import Job, Worker

FINISH = 4


async def process(job: Job, token: str):
    await job.step("initial", lambda: print("initial step"))
    await job.call("first child", "childrenQueueName", "child-1", {"foo": "bar"})
    await job.step("second", lambda: print("second step"))
    await job.call("second child", "childrenQueueName", "child-2", {"foo": "bar"})
    return FINISH


async def make(job: Job, token: str):
    return {"made": job.name}


worker = Worker("parentQueueName", process, {"connection": {}})
children_worker = Worker("childrenQueueName", make, {"connection": {}})
