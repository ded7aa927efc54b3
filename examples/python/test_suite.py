# Tests in parallel: when a critical one fails, those that have not begun are removed. BullMQ's document has it in TypeScript.
from bullmq import Job, Worker

connection = {}


async def run_test(job: Job, token: str):
    if job.data.get("broken"):
        raise Exception(f"{job.data['type']} tests failed")
    return {"passed": job.data["type"]}


async def report(job: Job, token: str):
    failed_children = await job.getFailedChildrenValues()

    if failed_children:
        # Critical test failed, stop remaining tests
        await job.removeUnprocessedChildren()

        return {
            "status": "failed",
            "failedTests": failed_children,
            "message": "Test suite aborted due to critical failure",
        }

    # All tests passed
    test_results = await job.getChildrenValues()
    return {"status": "passed", "results": test_results}


runner_worker = Worker("test-runner", run_test, {"connection": connection})
results_worker = Worker("test-results", report, {"connection": connection})
