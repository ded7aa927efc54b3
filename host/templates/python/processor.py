from bullmq import Job, UnrecoverableError


async def process(job: Job, token: str):
    walls = job.data.get("walls", 0)
    if walls < 1:
        # No further attempt can help.
        raise UnrecoverableError("there are no walls to paint")
    await job.log(f"painting {walls} walls")
    return {"cost": walls * 100}
