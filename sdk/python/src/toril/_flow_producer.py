"""BullMQ's `FlowProducer`: trees of jobs, added all or none."""

from __future__ import annotations

from typing import Any

from . import _json
from ._connected import Connected
from ._host import ask, awaited, producer
from ._job import FoundJob, Job
from ._options import checked
from ._queue import Queue


def _node(flow: dict[str, Any]) -> dict[str, Any]:
    """A node as the host takes it."""
    node = {"name": str(flow.get("name")), "queueName": flow.get("queueName"), "data": flow.get("data")}
    if flow.get("prefix") is not None:
        node["prefix"] = flow["prefix"]
    if flow.get("opts"):
        node["opts"] = checked(flow["opts"])
    if flow.get("children"):
        node["children"] = [_node(child) for child in flow["children"]]
    return node


def _added(
    tree: dict[str, Any], flow: dict[str, Any], defaults: dict[str, Any], parent: Job | None = None
) -> dict[str, Any]:
    queue = flow["queueName"]
    options = {**defaults.get(queue, {}).get("defaultJobOptions", {}), **(flow.get("opts") or {})}
    if parent is not None:
        options["parent"] = {"id": parent.id, "queue": parent.queueQualifiedName}
    job = Job(Queue(queue), flow["name"], flow.get("data"), options, tree["id"])
    node: dict[str, Any] = {"job": job}
    if flow.get("children"):
        pairs = zip(tree["children"], flow["children"])
        node["children"] = [_added(child, of, defaults, job) for child, of in pairs]
    return node


def _found(tree: dict[str, Any]) -> dict[str, Any]:
    node: dict[str, Any] = {"job": FoundJob(Queue(tree["queueName"]), tree)}
    if tree.get("children"):
        node["children"] = [_found(child) for child in tree["children"]]
    return node


class FlowProducer(Connected):
    def __init__(self, redisOpts: Any = None, opts: dict[str, Any] | None = None):
        if opts is None and isinstance(redisOpts, dict):
            opts = redisOpts
        super().__init__("flows", opts)

    def _add(self, flows: list[dict[str, Any]], opts: dict[str, Any] | None) -> list[dict[str, Any]]:
        self._check_prefix()
        given = (opts or {}).get("queuesOptions") or {}
        defaults = {name: {"defaultJobOptions": of.get("defaultJobOptions") or {}} for name, of in given.items()}
        nodes = _json.dumps([_node(flow) for flow in flows])
        trees = _json.loads(ask(producer.add_flows, nodes, _json.dumps({"queuesOptions": defaults})))
        return [_added(tree, flow, defaults) for tree, flow in zip(trees, flows)]

    @awaited
    def add(self, flow: dict[str, Any], opts: dict[str, Any] | None = None) -> dict[str, Any]:
        return self._add([flow], opts)[0]

    @awaited
    def addBulk(self, flows: list[dict[str, Any]], opts: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        return self._add(flows, opts)

    @awaited
    def getFlow(self, opts: dict[str, Any]) -> dict[str, Any] | None:
        self._check_prefix()
        query = _json.dumps({"depth": opts.get("depth", 10), "maxChildren": opts.get("maxChildren", 20)})
        tree = _json.loads(ask(producer.get_flow, opts["queueName"], str(opts["id"]), query))
        return _found(tree) if tree else None
