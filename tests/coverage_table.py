"""docs/coverage.md, made from the routes that are really served. `python tests/coverage_table.py` writes it anew."""

from __future__ import annotations

import asyncio
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import traffic
from kilonova.compose.control import Control
from kilonova.compose.edge import build_services
from kilonova.kit.clock import SystemClock
from kilonova.kit.db import open_database
from kilonova.kit.http import PUBLIC, Route, Service
from kilonova.kit.http.route import refuse_unbuilt
from kilonova.kit.http.version import text
from kilonova.settings import Settings
from kilonova.state import StateDir

FILE = Path(__file__).resolve().parent.parent / "docs" / "coverage.md"
WIDTH = 150
TITLES = {
    "identity": "Identity v3",
    "compute": "Compute v2.1",
    "image": "Image v2",
    "network": "Network v2.0",
    "placement": "Placement 1.0 to 1.39",
    "kilonova": "kilonova's own",
    "console": "Consoles in browsers",
    "web": "The listener",
}
LACKS = {"s": "a success", "r": "a refusal", "c": "the change read back"}
HEAD = """# Coverage

Made by `make coverage` from the routes and from what the suites asked and were answered
([evidence/traffic.json](evidence/traffic.json)); a test holds this file against both.

*Built* operations do what the API reference says, at the microversions named: in the recorded traffic of the suites a
success, a refusal (where an operation can refuse) and, for what changes something, the changed state read back were
seen. *Served* ones lack one of these in the record. *Not built* paths answer 501 to every method that is not listed,
never a false success. What a service does not have at a microversion answers 404 there, as OpenStack does. A request
without a valid token is answered 401 first.

Not built at all: Volume, EC2 and S3, a dashboard, hypervisors other than QEMU/KVM, clouds of several machines.
"""
NOTES = {
    "identity": """Within these, 501: federated, OAuth1 and external methods of login; trusts of trusts. Endpoint groups
(`OS-EP-FILTER`) are not built.""",
    "compute": """Within these, 501:

- block devices other than the image's own disk; trusted image certificates; the scheduler hints
  `target_cell`, `build_near_host_ip` and `cidr`
- moves of servers with an ephemeral disk, or with resources beside their flavor's sizes; a resize that changes such a
  disk, swap or those resources
- `os-keypairs` of type x509 without a certificate to import
- quotas of single users; a quota of fixed addresses
- a hypervisor's maintenance mode (`os-hosts`): drain the host instead
- sorting by a few keys that are not stored""",
}


async def serve() -> list[Service]:
    """Every service, as `kilonova up` serves them."""
    with tempfile.TemporaryDirectory() as place:
        state = StateDir(Path(place))
        db = await open_database(f"sqlite:///{state.database}", SystemClock())
        try:
            control = Control(Settings(state=state.root), state, state.prepare(), db, SystemClock())
            return list(build_services(control))
        finally:
            await db.close()


def render(services: Iterable[Service]) -> str:
    """The whole document."""
    shown = list(services)
    seen = traffic.stored()
    summary = [HEAD, "| service | at | built | served | not built |", "|---|---|---|---|---|"]
    sections: list[str] = []
    for service in shown:
        parts = _parts(service, seen.get(service.name, {}))
        counts = " | ".join(str(len(part)) for part in parts)
        summary.append(f"| {TITLES[service.name]} | `{service.prefix or '/'}` | {counts} |")
        sections += _section(service, *parts)
    return "\n".join([*summary, "", *sections]).rstrip() + "\n"


def _section(service: Service, built: list[str], served: list[str], missing: list[str]) -> Iterator[str]:
    yield f"## {TITLES[service.name]}\n"
    if service.versioning:
        yield f"Microversions {text(service.versioning.minimum)} to {text(service.versioning.maximum)}.\n"
    if service.name in NOTES:
        yield NOTES[service.name] + "\n"
    yield "Built:\n"
    yield from (f"- `{line}`" for line in built)
    yield ""
    if served:
        yield "Served, not yet seen whole:\n"
        yield from served
        yield ""
    if missing:
        yield "Not built:\n"
        yield from _wrapped(missing)
        yield ""


def _parts(service: Service, seen: Mapping[str, str]) -> tuple[list[str], list[str], list[str]]:
    """What is built, what is served but not seen whole (with what lacks), what is not built."""
    built: dict[str, None] = {}
    served: dict[str, str] = {}
    missing: dict[str, None] = {}
    for route in service.routes:
        if "/v2.1/{project_id" in route.path or route.handler.__name__ == "_refuse_absent":
            continue
        if route.handler is refuse_unbuilt:
            missing[_missing(route)] = None
        elif lacks := _lacks(route, seen):
            served[_built(route)] = f"- `{_built(route)}`: {lacks}"
        else:
            built[_built(route)] = None
    return sorted(built, key=_order), [served[line] for line in sorted(served, key=_order)], sorted(missing)


def _lacks(route: Route, seen: Mapping[str, str]) -> str:
    """What the recorded traffic of a route does not show."""
    reads, public = route.method in ("GET", "HEAD"), route.policy == PUBLIC
    wanted = "s" if reads and public else "sr" if reads or public else "src"
    letters = seen.get(traffic.operation(route.method, route.path, route.action), "")
    return ", ".join(LACKS[letter] for letter in wanted if letter not in letters)


def _built(route: Route) -> str:
    action = f" ({route.action})" if route.action else ""
    return f"{route.method} {_plain(route.path)}{action}{_versions(route)}"


def _missing(route: Route) -> str:
    return f"{route.action or _plain(route.path)}{_versions(route)}"


def _plain(path: str) -> str:
    return re.sub(r"{(\w+):[^}]*(?:{[^}]*}[^}]*)*}", r"{\1}", path)


def _versions(route: Route) -> str:
    first, last = route.min_version, route.max_version
    if last is not None:
        return f" {text(first or (2, 1))}-{text(last)}"
    return f" {text(first)}+" if first is not None and first > (2, 1) else ""


def _order(line: str) -> tuple[str, str]:
    method, _, rest = line.partition(" ")
    return rest, method


def _wrapped(names: Iterable[str]) -> Iterator[str]:
    line = ""
    for name in names:
        if line and len(line) + len(name) + 4 > WIDTH:
            yield line + ","
            line = ""
        line += f"{', ' if line else ''}`{name}`"
    yield line


def main() -> None:
    FILE.write_text(render(asyncio.run(serve())))
    sys.stdout.write(f"wrote {FILE}\n")


if __name__ == "__main__":
    main()
