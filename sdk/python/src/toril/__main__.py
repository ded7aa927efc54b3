"""`python -m toril build FILE`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from .build import BuildError, Built, build


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m toril", description="Builds BullMQ job processors for Toril.")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("build", help="build the component of a processor")
    command.add_argument("file", type=Path, metavar="FILE", help="the processor, a Python file")
    command.add_argument("--out", type=Path, metavar="WASM", help="the component (default: dist/NAME.wasm)")
    command.add_argument(
        "--http",
        action=argparse.BooleanOptionalAction,
        help="whether it sends requests (default: whether it imports `toril.http` or `urllib.request`)",
    )
    command.add_argument("--json", action="store_true", help="print one JSON object on what was built")
    return parser.parse_args()


def _as_json(built: Built) -> str:
    return json.dumps({
        "path": str(built.path),
        "bytes": built.size,
        "seconds": round(built.seconds, 3),
        "sendsRequests": "requests" in built.worlds,
        "usesStores": "stores" in built.worlds,
        "warnings": built.warnings,
        "inputs": [str(file) for file in built.inputs],
    })  # fmt: skip


def main() -> int:
    arguments = _arguments()
    out = arguments.out or Path("dist") / f"{arguments.file.stem}.wasm"
    try:
        built = build(arguments.file, out, http=arguments.http)
    except BuildError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if arguments.json:
        print(_as_json(built))
        return 0
    for warning in built.warnings:
        print(warning, file=sys.stderr)
    grants = {"requests": ", sends requests (grant `http`)", "stores": ", uses stores (grant `kv`)"}
    needs = "".join(grants[world] for world in built.worlds)
    print(f"{built.path}: {built.size / 1e6:.1f} MB in {built.seconds:.1f} s{needs}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
