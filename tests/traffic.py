"""What the suites asked of the APIs and were answered: the evidence behind docs/coverage.md.

With KILONOVA_TRAFFIC=FOLDER, applications in tests write their request log there, and the logs of daemons are kept
there before they are cleaned away. `python tests/traffic.py NAME FOLDER` sums a folder up in docs/evidence/traffic.json
under NAME (the suite). An operation is known by service, method, route and action; of each it is told whether a success
(`s`), a refusal (`r`) and, for what changes something, the changed state read back (`c`) were seen.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import sys
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from kilonova.kit.log import JsonFormatter

FILE: Final = Path(__file__).resolve().parent.parent / "docs" / "evidence" / "traffic.json"
ACCESS: Final = "kilonova.http"
Seen = dict[str, dict[str, str]]


def folder() -> Path | None:
    """Where traffic is kept in this run, if it is."""
    named = os.environ.get("KILONOVA_TRAFFIC")
    return Path(named) if named else None


def listen() -> None:
    """Keep the request log of every application in this process."""
    if (place := folder()) is not None:
        place.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(place / f"{uuid.uuid4()}.log")
        handler.setFormatter(JsonFormatter())
        access = logging.getLogger(ACCESS)
        access.addHandler(handler)
        access.setLevel(logging.INFO)


def keep(log: Path) -> None:
    """Keep a daemon's log, which is about to go."""
    if (place := folder()) is not None and log.exists():
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(log, place / f"{uuid.uuid4()}.log")


def digest(records: Iterable[Mapping[str, Any]]) -> Seen:
    """By service, by operation: what was seen of it, in one log in its order."""
    found: dict[str, dict[str, set[str]]] = {}
    changed: dict[str, list[tuple[str, set[str]]]] = {}
    for record in records:
        service, method, status, path = record["service"], record["method"], record["status"], record["path"]
        name = operation(method, record["route"], record.get("action"))
        marks = found.setdefault(service, {}).setdefault(name, set())
        if status < 400:
            marks.add("s")
        elif status < 500 and (status != 401 or (method == "GET" and "{" not in record["route"])):
            marks.add("r")
        pending = changed.setdefault(service, [])
        if method in ("GET", "HEAD"):
            read = [one for one in pending if (status < 400 or status == 404) and _touches(one[0], path)]
            for one in read:
                one[1].add("c")
                pending.remove(one)
        elif status < 400 and "c" not in marks:
            pending.append((path, marks))
    return _lettered(found)


def operation(method: str, route: str, action: str | None) -> str:
    """`POST /v2.1/servers/{server_id}/action (reboot)`: the same whether or not the path has the project."""
    plain = re.sub(r"{(\w+):[^}]*(?:{[^}]*}[^}]*)*}", r"{\1}", route).replace("/v2.1/{project_id}", "/v2.1", 1)
    return f"{method} {plain}" + (f" ({action})" if action else "")


def merge(several: Iterable[Seen]) -> Seen:
    """Everything that was seen anywhere."""
    found: dict[str, dict[str, set[str]]] = {}
    for one in several:
        for service, operations in one.items():
            for name, letters in operations.items():
                found.setdefault(service, {}).setdefault(name, set()).update(letters)
    return _lettered(found)


def stored() -> Seen:
    """What all suites together saw, as it was written down last."""
    return merge(json.loads(FILE.read_text()).values()) if FILE.exists() else {}


def records(place: Path) -> Iterator[Iterator[dict[str, Any]]]:
    """The requests of each log in a folder."""
    return (_requests(log) for log in sorted(place.glob("*.log")))


def _requests(log: Path) -> Iterator[dict[str, Any]]:
    with log.open(errors="replace") as lines:
        for line in lines:
            if '"event":"request"' in line and '"route":' in line:
                yield json.loads(line)


def _touches(changed: str, read: str) -> bool:
    """Whether one path is the other or lies below it: a change of a member shows in its collection, and vice versa."""
    one, other = changed.removesuffix("/action").rstrip("/") + "/", read.rstrip("/") + "/"
    return one.startswith(other) or other.startswith(one)


def _lettered(found: Mapping[str, Mapping[str, set[str]]]) -> Seen:
    return {
        service: {name: "".join(sorted(letters, key="src".index)) for name, letters in sorted(operations.items())}
        for service, operations in sorted(found.items())
    }


def main() -> None:
    name, place = sys.argv[1], Path(sys.argv[2])
    FILE.parent.mkdir(parents=True, exist_ok=True)
    document = json.loads(FILE.read_text()) if FILE.exists() else {}
    document[name] = merge(digest(one) for one in records(place))
    FILE.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")
    count = sum(len(operations) for operations in document[name].values())
    sys.stdout.write(f"{name}: {count} operations seen\n")


if __name__ == "__main__":
    main()
