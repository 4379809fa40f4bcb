"""Placement's own functional tests (gabbi) against kilonova's Placement API; not part of the test run.

    python -m tests.conformance.placement OTHER_PYTHON [FILE…]

`make conformance AREAS=placement` makes the environment and runs all; OTHER_PYTHON is the interpreter of one with
PACKAGES from PyPI. Each file of tests gets a fresh cloud without hosts, served by kilonova's own listener. What
Placement's fixtures write into its database is made through the API.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import types
import unittest
import urllib.request
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.conformance.evidence import Outcome

SKIPPED = {
    "cors.yaml": "CORS is the proxy's business",
    "non-cors.yaml": "CORS is the proxy's business",
}
REASONS = {
    "legacy-rbac": "rules of before 2021, which Placement has deprecated",
    "-policy": "needs Placement's configuration of a policy file",
}


PACKAGES = ("openstack-placement==16.0.0", "gabbi==4.2.3", "oslotest", "wsgi-intercept")
ABOUT = (
    "Placement's own functional tests (gabbi) of openstack-placement 16, unchanged, against kilonova's Placement API.\n"
    "Counted as skipped are whole files that are not run here, for the reasons below. What fails, and why:\n\n"
    "- `Allow` names HEAD, which is answered here wherever GET is (RFC 9110 §10.2.1 wants it named).\n"
    "- A body is checked before its provider is looked up: a bad body for an unknown provider is 400, not 404.\n"
    "- Traits of a provider summary are told by name; the reference's order is that of a set.\n"
    "- A Content-Length that is no number is refused by gabbi's own HTTP client before it is sent."
)


class Gate:
    """As Placement's own tests name the caller: the token is `user[:project]`, roles stand in a header."""

    def __init__(self, *, strict: bool) -> None:
        from kilonova.edge.openstack.placement.policy import RULES
        from kilonova.edge.openstack.policy import Enforcer

        self._strict = strict
        self._enforcer = Enforcer(RULES)

    async def authenticate(self, request: Any) -> Any:
        from kilonova.core.context import Context
        from kilonova.core.errors import Unauthenticated

        token = request.header("x-auth-token")
        if token is None:
            raise Unauthenticated("The request you have made requires authentication.")
        user, _, project = token.partition(":")
        named = request.header("x-roles")
        roles = named.split(",") if named is not None else ["admin"] if user == "admin" else []
        system = bool(request.header("openstack-system-scope"))
        own = None if system else request.header("x-project-id") or project or user
        return Context(user, own, frozenset(roles), request.request_id, system=system)

    def permits(self, context: Any, rule: str, target: Mapping[str, Any]) -> bool:
        """With Placement's old defaults in force, an administrator may do everything."""
        return (not self._strict and "admin" in context.roles) or self._enforcer.permits(context, rule, target)


async def serve(place: Path, file: Path, other: str) -> list[tuple[str, str, str]]:
    """Run one file of tests against a cloud of its own: (test, how it ended, why)."""
    from kilonova.cloud.placement.service import PlacementServices
    from kilonova.cloud.server import consumer_store
    from kilonova.edge.openstack.placement.routes import build_placement
    from kilonova.kit.clock import SystemClock
    from kilonova.kit.db import metadata, open_database
    from kilonova.kit.http import App
    from kilonova.kit.http.server import Server

    db = await open_database(f"sqlite:///{place}/{file.stem}.db", SystemClock())
    await db.write(lambda tx: metadata.create_all(tx.connection))
    gate: Any = Gate(strict="secure-rbac" in file.name)
    server = Server(App([build_placement(PlacementServices(db, consumer_store), gate, prefix="")]), "127.0.0.1", 0)
    running = asyncio.create_task(server.serve())
    await server.ready.wait()
    told = place / f"{file.stem}.json"
    process = await asyncio.create_subprocess_exec(
        other, __file__, "--inside", str(server.port), str(told), other, file.name,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, errors = await process.communicate()
    server.stop()
    await running
    await db.close()
    if not told.exists():
        return [(file.name, "fail", errors.decode().strip().rpartition("\n")[2][:200])]
    return [(f"{file.stem}: {test}", status, why) for test, status, why in json.loads(told.read_text())]


class Provider:
    """What the fixtures hold of a provider."""

    def __init__(self, api: Api, own: str) -> None:
        self._api, self.uuid = api, own

    def set_aggregates(self, ids: Iterable[str]) -> None:
        self._api.ask("PUT", f"/resource_providers/{self.uuid}/aggregates", list(ids), "1.18")


class Api:
    """Placement's fixtures' way to write, through the API: the module `test_base` that they call."""

    def __init__(self, port: int, ids: Any) -> None:
        self._url = f"http://127.0.0.1:{port}"
        self._ids = ids

    def ask(self, method: str, path: str, body: Any = None, version: str = "1.36") -> Any:
        headers = {
            "x-auth-token": "admin", "x-roles": "admin,service", "openstack-api-version": f"placement {version}",
            "content-type": "application/json",
        }  # fmt: skip
        data = None if body is None else json.dumps(body).encode()
        asked = urllib.request.Request(self._url + path, data, headers, method=method)
        with urllib.request.urlopen(asked, timeout=30) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def generation(self, provider: Any) -> int:
        return int(self.ask("GET", f"/resource_providers/{provider.uuid}")["generation"])

    def create_provider(self, context: Any, name: str, *aggregates: str, **given: Any) -> Any:
        own = given.get("uuid") or getattr(self._ids, name)
        self.ask(
            "POST", "/resource_providers", {"name": name, "uuid": own, "parent_provider_uuid": given.get("parent")}
        )
        if aggregates:
            Provider(self, own).set_aggregates(aggregates)
        return Provider(self, own)

    def add_inventory(self, provider: Any, name: str, total: int, **given: Any) -> None:
        if name.startswith("CUSTOM_"):
            self.ask("PUT", f"/resource_classes/{name}")
        values = {"max_unit": total, **given, "total": total, "resource_class": name}
        self.ask("POST", f"/resource_providers/{provider.uuid}/inventories", values)

    def set_traits(self, provider: Any, *names: str) -> None:
        for name in names:
            if name.startswith("CUSTOM_"):
                self.ask("PUT", f"/traits/{name}")
        body = {"traits": names, "resource_provider_generation": self.generation(provider)}
        self.ask("PUT", f"/resource_providers/{provider.uuid}/traits", body)

    def ensure_consumer(self, context: Any, user: Any, project: Any, consumer_id: str | None = None) -> Any:
        from oslo_utils import uuidutils

        own = consumer_id or uuidutils.generate_uuid()
        return types.SimpleNamespace(uuid=own, user=user.external_id, project=project.external_id)

    def set_allocation(self, context: Any, provider: Any, consumer: Any, amounts: Mapping[str, int]) -> None:
        """Beside what the consumer has of other providers, as the original has it for one that has nothing yet."""
        share = {
            "allocations": {provider.uuid: {"resources": dict(amounts)}},
            "project_id": consumer.project,
            "user_id": consumer.user,
        }
        self.ask("PUT", f"/allocations/{consumer.uuid}", share, "1.12")

    def create_user_and_project(self, context: Any, prefix: str = "fake") -> tuple[Any, Any]:
        return types.SimpleNamespace(external_id=f"{prefix}-user"), types.SimpleNamespace(
            external_id=f"{prefix}-project"
        )


def fixtures(port: int) -> types.ModuleType:
    """Placement's own module of fixtures, writing through the API."""
    from oslo_utils import uuidutils
    from oslo_utils.fixture import uuidsentinel
    from placement.tests.functional.fixtures import gabbits

    api = Api(port, uuidsentinel)
    numbered = [f"{kind}{n}" for kind in ("RP_UUID", "RP_NAME") for n in ("", "1", "2")]
    owners = [f"{who}_ID{alt}" for who in ("PROJECT", "USER") for alt in ("", "_ALT")]
    named = [
        *numbered, *owners, "ADMIN_PROJECT_ID", "SERVICE_PROJECT_ID", "INSTANCE_UUID", "MIGRATION_UUID",
        "CONSUMER_UUID", "PARENT_PROVIDER_UUID", "ALT_PARENT_PROVIDER_UUID",
    ]  # fmt: skip

    def start(self: Any) -> None:
        self.context = None
        os.environ.update({name: uuidutils.generate_uuid() for name in named})
        suffixes = {"": "", "1": "1", "2": "2"}
        os.environ.update({f"CUSTOM_RES_CLASS{s}": f"CUSTOM_IRON_NFV{s}" for s in suffixes})

    def make(kind: str) -> Any:
        def build(context: Any = None, external_id: str = "", name: str = "", **_: Any) -> Any:
            create = (lambda: api.ask("PUT", f"/resource_classes/{name}")) if kind == "class" else lambda: None
            return types.SimpleNamespace(external_id=external_id, create=create)

        return build

    gabbits.tb = api
    gabbits.APIFixture.start_fixture = start
    gabbits.APIFixture.stop_fixture = lambda self: None
    gabbits.user_obj = types.SimpleNamespace(User=make("user"))
    gabbits.project_obj = types.SimpleNamespace(Project=make("project"))
    gabbits.rc_obj = types.SimpleNamespace(ResourceClass=make("class"))
    module: types.ModuleType = gabbits
    return module


def inside(port: int, told: Path, name: str) -> None:
    """In the other environment: run one file and write down how each test went."""
    # This file bears the name of the package that it needs.
    sys.path = [folder for folder in sys.path if Path(folder).resolve() != Path(__file__).resolve().parent]
    import placement
    from gabbi import driver

    source = Path(placement.__file__).parent / "tests/functional/gabbits" / name
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / name).write_text(source.read_text())
        loader = unittest.TestLoader()
        suite = driver.build_tests(
            folder, loader, host="127.0.0.1", port=port, fixture_module=fixtures(port), test_loader_name="kilonova"
        )
        every = [test.id() for test in _tests(suite)]
        result = unittest.TestResult()
        suite.run(result)
    ended = {test.id(): ("fail", _last(text)) for test, text in (*result.failures, *result.errors)}
    ended |= {test.id(): ("skip", text) for test, text in result.skipped}
    rows = [(name.partition("_")[2].rpartition(".")[0], *ended.get(name, ("success", ""))) for name in every]
    told.write_text(json.dumps(rows))


def _tests(suite: Any) -> list[Any]:
    return [one for part in suite for one in _tests(part)] if isinstance(suite, unittest.TestSuite) else [suite]


def _last(text: str) -> str:
    """What an assertion said, without the answer that follows it."""
    said = [line for line in text.splitlines() if line.startswith(("AssertionError", "httpx.", "ValueError", "Attri"))]
    return (said[-1] if said else text.strip().rpartition("\n")[2])[:160]


def reason(name: str) -> str:
    """Why a file is not run; empty when it is."""
    return SKIPPED.get(name) or next((why for part, why in REASONS.items() if part in name), "")


def say(line: str) -> None:
    """A line of the report."""
    sys.stdout.write(line + "\n")


def _gabbits(other: str) -> Path:
    asked = "import placement, os; print(os.path.dirname(placement.__file__))"
    found = subprocess.run([other, "-c", asked], check=True, capture_output=True, text=True)
    return Path(found.stdout.strip()) / "tests/functional/gabbits"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inside", nargs=2, metavar=("PORT", "RESULT"))
    parser.add_argument("other")
    parser.add_argument("files", nargs="*")
    given = parser.parse_args()
    if given.inside:
        inside(int(given.inside[0]), Path(given.inside[1]), given.files[0])
        return 0
    outcomes = run(given.other, given.files)
    for one in outcomes:
        if one.status == "fail":
            say(f"    {one.test}: {one.why}")
    return 1 if any(one.status == "fail" for one in outcomes) else 0


def run(other: str, files: Sequence[str] = ()) -> list[Outcome]:
    """How each test of these files (all of them when none is named) ended; `other` is an interpreter with PACKAGES."""
    from tests.conformance.evidence import Outcome

    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory() as folder:
        for file in sorted(_gabbits(other).glob("*.yaml")):
            if files and file.name not in files:
                continue
            if why := reason(file.name):
                outcomes.append(Outcome(file.name, "skip", why))
            else:
                outcomes += [Outcome(*one) for one in asyncio.run(serve(Path(folder), file, other))]
            say(f"{file.name}: {Counter(one.status for one in outcomes if one.test.startswith(f'{file.stem}: '))}")
    return outcomes


if __name__ == "__main__":
    sys.exit(main())
