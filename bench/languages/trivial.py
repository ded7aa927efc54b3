# Returns at once; a job named `sleep` waits for as many milliseconds as its data say.
import asyncio

from bullmq import Job


async def process(job: Job, token: str):
    if job.name == "sleep":
        await asyncio.sleep(job.data / 1000)
    return 1
