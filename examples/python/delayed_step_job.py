# A job in steps that rests between them; while it rests it holds no worker, and no attempt is spent. BullMQ's document has
# it in TypeScript.
import time
from enum import Enum

from bullmq import DelayedError, Job, Worker

connection = {}


class Step(int, Enum):
    Initial = 1
    Second = 2
    Finish = 3


async def do_initial_step_stuff():
    print("initial step")


async def do_second_step_stuff():
    print("second step")


async def process(job: Job, token: str):
    step = job.data.get("step")
    while step != Step.Finish:
        if step == Step.Initial:
            await do_initial_step_stuff()
            await job.moveToDelayed(int(time.time() * 1000) + 200, token)
            await job.updateData({"step": Step.Second})
            raise DelayedError
        elif step == Step.Second:
            await do_second_step_stuff()
            await job.updateData({"step": Step.Finish})
            step = Step.Finish
        else:
            raise Exception("invalid step")


worker = Worker("queueName", process, {"connection": connection})
