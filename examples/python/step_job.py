# A job in steps: the step is kept in its data, so that a retry resumes where it failed.
from enum import Enum

from bullmq import Job, Worker

connection = {}


async def doInitialStepStuff():
    print("initial step")


async def doSecondStepStuff():
    print("second step")


# ----------------------------------------------------------------------------------------------------------------------

class Step(int, Enum):
  Initial = 1
  Second = 2
  Finish = 3

async def process(job: Job, token: str):
  step = job.data.get("step")
  while step != Step.Finish:
    if step == Step.Initial:
      await doInitialStepStuff()
      await job.updateData({
          "step": Step.Second
      })
      step = Step.Second
    elif step == Step.Second:
      await doSecondStepStuff()
      await job.updateData({
          "step": Step.Finish
      })
      step = Step.Finish
    else:
      raise Exception("invalid step")

worker = Worker("queueName", process, {"connection": connection})
