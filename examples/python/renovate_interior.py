# The costs of a renovation: each step is a child that returns its price, the parent sums them up.
from bullmq import Job

connection = {}


async def performStep(data):
    print(f"working on the {data['place']}")


async def sendInvoice(total_costs):
    print(f"invoice over {total_costs}")


# ----------------------------------------------------------------------------------------------------------------------

from bullmq import Worker

async def process(job: Job, token: str):
  await performStep(job.data)
  if job.name == 'paint':
    return 2500
  elif job.name == 'fix':
    return 1750

stepsWorker = Worker("steps", process, {"connection": connection})


async def renovate(job: Job, token: str):
  children_values = await job.getChildrenValues()
  total_costs = sum(children_values.values())
  await sendInvoice(total_costs)

renovateWorker = Worker("renovate", renovate, {"connection": connection})
