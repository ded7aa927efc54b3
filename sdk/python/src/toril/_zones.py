"""Time zones. Python and its packages read them from files when one is first named: here they come from a table that the build
made, since a component has no files."""

from __future__ import annotations

import io
import json
import sys
import zlib
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

#: Packages that look up time zones by their names.
PACKAGES = ("zoneinfo", "pytz", "dateutil")


def table() -> str:
    """The time zones of the machine that builds, or of its package `tzdata`, for `install`."""
    import zoneinfo

    found = {}
    for name in sorted(zoneinfo.available_timezones()):
        text = _file_of(name)
        if text is not None:
            found[name] = b64encode(zlib.compress(text, 9)).decode()
    return json.dumps(found)


def _file_of(name: str) -> bytes | None:
    import zoneinfo
    from importlib import resources

    for folder in zoneinfo.TZPATH:
        file = Path(folder, name)
        if file.is_file():
            return file.read_bytes()
    folder, _, last = f"tzdata/zoneinfo/{name}".rpartition("/")
    try:
        return resources.files(folder.replace("/", ".")).joinpath(last).read_bytes()
    except (ImportError, OSError):
        return None


class _Zones:
    def __init__(self, table: dict[str, str]):
        self._kept = {name: b64decode(text) for name, text in table.items()}

    def names(self) -> set[str]:
        return set(self._kept)

    def file(self, name: str) -> io.BytesIO | None:
        kept = self._kept.get(name)
        return None if kept is None else io.BytesIO(zlib.decompress(kept))


def _for_zoneinfo(zones: _Zones) -> None:
    import zoneinfo

    def load_tzdata(key: str) -> io.BytesIO:
        file = zones.file(key)
        if file is None:
            raise zoneinfo.ZoneInfoNotFoundError(f"No time zone found with key {key}")
        return file

    zoneinfo._common.load_tzdata = load_tzdata  # type: ignore[attr-defined]
    zoneinfo.available_timezones = zones.names


def _for_pytz(zones: _Zones) -> None:
    import pytz

    def open_resource(name: str) -> io.BytesIO:
        file = zones.file(name)
        if file is None:
            raise FileNotFoundError(name)
        return file

    pytz.open_resource = open_resource
    # Reads the tables of names that pytz makes when it is first asked for them.
    pytz.resource_exists = lambda name: name in zones.names()


def _for_dateutil(zones: _Zones) -> None:
    import dateutil.zoneinfo
    from dateutil.tz import tz

    def load(name: str) -> io.BytesIO:
        file = zones.file(name)
        if file is None:
            raise ValueError(f"no time zone is named {name}")
        return file

    class Files:
        def get(self, name: str, default: Any = None) -> Any:
            file = zones.file(name)
            return default if file is None else tz.tzfile(file, name)

    # Newer versions read single files, older ones an archive.
    if hasattr(tz, "_tzdata_impl"):
        tz._tzdata_impl._load_tzdata = load
    else:
        dateutil.zoneinfo.get_zonefile_instance = lambda new_instance=False: Files()


def install(text: str) -> None:
    """Has the packages that are imported find the zones of a table."""
    zones = _Zones(json.loads(text))
    for name, adapt in (("zoneinfo", _for_zoneinfo), ("pytz", _for_pytz), ("dateutil.tz", _for_dateutil)):
        if name in sys.modules:
            adapt(zones)
