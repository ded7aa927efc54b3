# `chained_flow.py` with durable steps: a job that adds a whole flow while it runs, and waits for it.
from bullmq import FlowProducer, Job, WaitingChildrenError, Worker

FINISH = 4
flow = FlowProducer({"connection": {}})


def grandchild_of(job: Job, data: dict):
    opts = {"jobId": f"{job.id}-{data['idx']}"}
    return {"name": "grandchild-job", "queueName": "grandchildrenQueueName", "data": data, "opts": opts}


async def add_flow(job: Job):
    # The ids are the same in each attempt: if this step runs twice, it adds nothing twice.
    opts = {"jobId": f"{job.id}-child", "parent": {"id": job.id, "queue": job.queueQualifiedName}}
    children = [grandchild_of(job, {"idx": idx, "foo": foo}) for idx, foo in enumerate(["bar", "baz"])]
    child = {"name": "child-job", "queueName": "childrenQueueName", "data": {}, "opts": opts, "children": children}
    await flow.add(child)


async def process(job: Job, token: str):
    await job.step("initial", lambda: print("initial step"))
    await job.step("flow", lambda: add_flow(job))
    await job.step("second", lambda: print("second step"))
    if await job.moveToWaitingChildren(token):
        raise WaitingChildrenError
    return FINISH


async def child(job: Job, token: str):
    return list((await job.getChildrenValues()).values())


async def grandchild(job: Job, token: str):
    return job.data


worker = Worker("parentQueueName", process, {"connection": {}})
children_worker = Worker("childrenQueueName", child, {"connection": {}})
grandchildren_worker = Worker("grandchildrenQueueName", grandchild, {"connection": {}})
