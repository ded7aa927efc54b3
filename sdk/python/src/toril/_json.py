"""JSON as BullMQ's Python package writes it: without spaces, and without numbers that JSON does not have."""

from __future__ import annotations

import json
from typing import Any

_encoder = json.JSONEncoder(separators=(",", ":"), allow_nan=False)

dumps = _encoder.encode


def loads(text: str) -> Any:
    """The value of a text, whatever numbers are in it."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        raise
    except ValueError:
        # A whole number of more digits than Python converts.
        return json.loads(text, parse_int=_whole)


def _whole(digits: str) -> int | float:
    """A whole number; an infinity, which JavaScript reads too, where it is too long."""
    try:
        return int(digits)
    except ValueError:
        return float(digits)


def or_none(text: str | None) -> Any:
    """The value of a text that may not be there."""
    return None if text is None else loads(text)
