# Deployments to several regions: when one fails, those that have not begun are cancelled, and the others rolled back.
# BullMQ's document has it in TypeScript.
from bullmq import Job, Worker

connection = {}


async def rollback_deployment(region):
    print(f"rolled back {region}")


async def deploy(job: Job, token: str):
    if job.data.get("broken"):
        raise Exception(f"{job.data['region']} refused the deployment")
    return {"region": job.data["region"]}


async def finish_deployment(job: Job, token: str):
    failed_children = await job.getFailedChildrenValues()

    if failed_children:
        # One deployment failed, cancel pending and rollback successful
        await job.removeUnprocessedChildren()

        # Rollback successful deployments
        successful_deployments = await job.getChildrenValues()
        for result in successful_deployments.values():
            await rollback_deployment(result["region"])

        raise Exception(f"Deployment failed in: {', '.join(failed_children)}")

    return {"status": "deployed", "version": job.data["version"]}


region_worker = Worker("deploy-region", deploy, {"connection": connection})
deployment_worker = Worker("deployments", finish_deployment, {"connection": connection})
