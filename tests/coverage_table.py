"""docs/coverage.md, made from the routes that are really served. `python tests/coverage_table.py` writes it anew."""

from __future__ import annotations

import asyncio
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from kilonova.compose.control import Control
from kilonova.compose.edge import build_services
from kilonova.kit.clock import SystemClock
from kilonova.kit.db import open_database
from kilonova.kit.http import Route, Service
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
    "kilonova": "kilonova's own",
    "web": "The listener",
}
HEAD = """# Coverage

Made from the routes by `python tests/coverage_table.py`; a test holds this file against them.

*Built* operations do what the API reference says, at the microversions named. *Not built* paths answer 501 to every
method that is not listed as built, never a false success. What Nova does not have at a microversion answers 404
there, as Nova does. A request without a valid token is answered 401 first.

Not built at all: Volume, Placement, EC2 and S3, a dashboard, hypervisors other than QEMU/KVM, clouds of several
machines.
"""
NOTES = {
    "identity": """Within these, 501: methods of login other than password and token; scopes of trusts.""",
    "compute": """Within these, 501:

- a create with block devices other than the image's own disk, scheduler hints, injected files, access addresses,
  tags or trusted certificates; a change of access addresses or disk configuration
- `os-keypairs` of type x509 without a certificate to import
- quotas of single users; a quota of fixed addresses
- forcing a service down; `os-hypervisors/{hypervisor_id}/uptime`
- flavor extra specs from 2.86 on, where Nova checks their names
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
    summary = [HEAD, "| service | at | built | not built |", "|---|---|---|---|"]
    for service in shown:
        built, missing = _parts(service)
        summary.append(f"| {TITLES[service.name]} | `{service.prefix or '/'}` | {len(built)} | {len(missing)} |")
    return "\n".join([*summary, "", *(line for service in shown for line in _section(service))]).rstrip() + "\n"


def _section(service: Service) -> Iterator[str]:
    built, missing = _parts(service)
    yield f"## {TITLES[service.name]}\n"
    if service.versioning:
        yield f"Microversions {text(service.versioning.minimum)} to {text(service.versioning.maximum)}.\n"
    if service.name in NOTES:
        yield NOTES[service.name] + "\n"
    yield "Built:\n"
    yield from (f"- `{line}`" for line in built)
    yield ""
    if missing:
        yield "Not built:\n"
        yield from _wrapped(missing)
        yield ""


def _parts(service: Service) -> tuple[list[str], list[str]]:
    built: dict[str, None] = {}
    missing: dict[str, None] = {}
    for route in service.routes:
        if "/v2.1/{project_id" in route.path or route.handler.__name__ == "_refuse_absent":
            continue
        if route.handler is refuse_unbuilt:
            missing[_missing(route)] = None
        else:
            built[_built(route)] = None
    return sorted(built, key=_order), sorted(missing)


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
