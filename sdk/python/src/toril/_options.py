"""The options of a job by the names that producers give; Redis has some of them under short names."""

from __future__ import annotations

from typing import Any

from . import _json

_LONG = {
    "de": "deduplication",
    "fpof": "failParentOnFailure",
    "cpof": "continueParentOnFailure",
    "idof": "ignoreDependencyOnFailure",
    "kl": "keepLogs",
    "rdof": "removeDependencyOnFailure",
}
_TELEMETRY = {"tm": "metadata", "omc": "omitContext"}

#: What a child's failure does to its parent, and the name of it in the parent's record.
POLICIES = {
    "failParentOnFailure": "fpof",
    "removeDependencyOnFailure": "rdof",
    "ignoreDependencyOnFailure": "idof",
    "continueParentOnFailure": "cpof",
}


def long_options(text: str) -> dict[str, Any]:
    """Stored options as a processor sees them."""
    options: dict[str, Any] = {"attempts": 0}
    stored = _json.loads(text or "{}")
    if not isinstance(stored, dict):
        return options
    for name, value in stored.items():
        if name in _TELEMETRY:
            options.setdefault("telemetry", {})[_TELEMETRY[name]] = value
        else:
            options[_LONG.get(name, name)] = value
    return options


def parent_of(options: dict[str, Any]) -> dict[str, Any] | None:
    """The record of the parent that these options name."""
    parent = options.get("parent")
    if not parent:
        return None
    policies: dict[str, Any] = {short: True for long, short in POLICIES.items() if options.get(long)}
    return {"id": parent.get("id"), "queueKey": parent.get("queue"), **policies}


#: What the host takes of a priority that is changed.
_PRIORITY_MAX = 2**32 - 1


def checked_priority(priority: Any) -> int:
    """A priority that a job is given later on. BullMQ checks those of new jobs only."""
    number = float(priority)
    if not 0 <= number <= _PRIORITY_MAX:
        raise ValueError(f"Priority should be between 0 and {_PRIORITY_MAX}")
    if not number.is_integer():
        raise ValueError("Priority should not be float")
    return int(number)


def checked(options: dict[str, Any] | None) -> dict[str, Any]:
    """The options of a job to add. BullMQ allows one policy for failures."""
    options = dict(options or {})
    policies = [name for name in POLICIES if options.get(name)]
    if len(policies) > 1:
        raise ValueError(f"The following options cannot be used together: {', '.join(policies)}")
    return options
