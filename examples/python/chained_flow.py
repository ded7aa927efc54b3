# A job in steps that adds a whole flow while it runs, and waits for it. BullMQ's document has it in TypeScript.
from enum import Enum

from bullmq import FlowProducer, Job, WaitingChildrenError, Worker

connection = {}
name = "grandchild-job"
flow = FlowProducer({"connection": connection})


class Step(int, Enum):
    Initial = 1
    Second = 2
    Third = 3
    Finish = 4


async def do_initial_step_stuff():
    print("initial step")


async def do_second_step_stuff():
    print("second step")


async def process(job: Job, token: str):
    step = job.data.get("step")
    while step != Step.Finish:
        if step == Step.Initial:
            await do_initial_step_stuff()
            await flow.add({
                "name": "child-job",
                "queueName": "childrenQueueName",
                "data": {},
                "children": [
                    {"name": name, "data": {"idx": 0, "foo": "bar"}, "queueName": "grandchildrenQueueName"},
                    {"name": name, "data": {"idx": 1, "foo": "baz"}, "queueName": "grandchildrenQueueName"},
                ],
                "opts": {"parent": {"id": job.id, "queue": job.queueQualifiedName}},
            })
            await job.updateData({"step": Step.Second})
            step = Step.Second
        elif step == Step.Second:
            await do_second_step_stuff()
            await job.updateData({"step": Step.Third})
            step = Step.Third
        elif step == Step.Third:
            should_wait = await job.moveToWaitingChildren(token, {})
            if should_wait:
                raise WaitingChildrenError
            await job.updateData({"step": Step.Finish})
            step = Step.Finish
            return Step.Finish
        else:
            raise Exception("invalid step")


async def child(job: Job, token: str):
    return list((await job.getChildrenValues()).values())


async def grandchild(job: Job, token: str):
    return job.data


worker = Worker("parentQueueName", process, {"connection": connection})
children_worker = Worker("childrenQueueName", child, {"connection": connection})
grandchildren_worker = Worker("grandchildrenQueueName", grandchild, {"connection": connection})
