"""Every form of a grant, and what is refused of everything around them."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from people_world import People, build_settled, reopen

FORMS = [
    (f"{prefix}/{place}/{actor}/roles", tail)
    for place, actor in itertools.product(
        ("projects/{lab}", "domains/{here}", "system"), ("users/{ann}", "groups/{team}")
    )
    for prefix, tail in (("", ""), ("/OS-INHERIT", "/inherited_to_projects"))
    if place != "system" or not prefix
]
REFUSED = [
    ("POST", "/groups"), ("DELETE", "/groups/{team}"), ("GET", "/groups/{team}/users/{ann}"),
    ("DELETE", "/groups/{team}/users/{ann}"), ("GET", "/users/{ann}/projects"), ("GET", "/projects/{den}/tags"),
    ("GET", "/projects/{den}/tags/t"), ("PUT", "/projects/{den}/tags"), ("DELETE", "/projects/{den}/tags"),
    ("DELETE", "/projects/{den}/tags/t"), ("GET", "/roles/{role-admin}/implies"),
    ("GET", "/roles/{role-admin}/implies/{role-manager}"), ("HEAD", "/roles/{role-admin}/implies/{role-manager}"),
    ("DELETE", "/roles/{role-admin}/implies/{role-manager}"), ("PATCH", "/roles/{role-admin}"),
    ("DELETE", "/users/{ann}"), ("GET", "/services/x"), ("GET", "/endpoints/x"),
]  # fmt: skip


@pytest.fixture(scope="module")
def settled(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    return build_settled(sqlite_template, tmp_path_factory.mktemp("settled"))


@pytest.fixture
async def people(settled: tuple[Path, dict[str, str]], tmp_path: Path) -> AsyncIterator[People]:
    async with reopen(settled, tmp_path) as one:
        yield one


async def test_every_form_of_a_grant_is_given_seen_and_taken(people: People) -> None:
    for several, tail in FORMS:
        one = several + "/{role-reader}" + tail

        async def listed(path: str = several + tail) -> list[str]:
            return [role["name"] for role in (await people.do("GET", path))["roles"]]

        for method, path in (("PUT", one), ("GET", one), ("DELETE", one), ("GET", several + tail)):
            assert (await people.ask(method, path, "member")).status_code == 403, path
        assert (await people.ask("GET", one)).status_code == 404
        for method, held in (("PUT", True), ("PUT", True), ("DELETE", False)):
            assert (await people.ask(method, one)).status_code == 204, one
            assert await listed() == (["reader"] if held else [])
            assert (await people.ask("GET", one)).status_code == (204 if held else 404)
        assert (await people.ask("DELETE", one)).status_code == 404
        for name in ("ann", "team"):
            for bad in (one, several + tail):
                strange = bad.replace("{" + name + "}", "none")
                assert strange == bad or (await people.ask("GET", strange)).status_code == 404


async def test_a_grant_holds_only_in_its_own_form(people: People) -> None:
    plain, tail = "/projects/{lab}/users/{ann}/roles/{role-reader}", "/inherited_to_projects"
    await people.do("PUT", f"/OS-INHERIT{plain}{tail}")
    assert (await people.ask("GET", plain)).status_code == 404
    assert (await people.ask("DELETE", plain)).status_code == 404
    await people.do("PUT", plain)
    await people.do("DELETE", f"/OS-INHERIT{plain}{tail}")
    assert (await people.ask("GET", plain)).status_code == 204
    for strange in ("/system/users/{team}", "/system/groups/{ann}", "/domains/{lab}/users/{ann}"):
        assert (await people.ask("PUT", f"{strange}/roles/{{role-reader}}")).status_code == 404


async def test_members_of_a_project_change_nothing(people: People) -> None:
    for method, path in REFUSED:
        assert (await people.ask(method, path, "member")).status_code == 403, path
        assert (await people.ask(method, path, None)).status_code == 401, path
    await people.do("PUT", "/projects/{den}/tags/t")
    assert (await people.ask("GET", "/projects/{den}/tags/t")).status_code == 204
    await people.do("PUT", "/groups/{team}/users/{ann}")
    assert (await people.ask("GET", "/groups/{team}/users/{ann}")).status_code == 204
