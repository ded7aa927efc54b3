"""JSON as BullMQ's Python package writes it: without spaces, and without numbers that JSON does not have."""

from __future__ import annotations

import json
from typing import Any

_encoder = json.JSONEncoder(separators=(",", ":"), allow_nan=False)

dumps = _encoder.encode
loads = json.loads


def or_none(text: str | None) -> Any:
    """The value of a text that may not be there."""
    return None if text is None else loads(text)
