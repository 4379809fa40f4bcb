"""People and rights over HTTP: who may see and change what, groups, trees of projects, tags, options, lock-out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from people_world import PEOPLE, People, build_settled, reopen

NOBODY = None
WHO = ("admin", "system-reader", "domain-admin", "domain-manager", "domain-reader", "member", NOBODY)


@pytest.fixture(scope="module")
def settled(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    return build_settled(sqlite_template, tmp_path_factory.mktemp("settled"))


@pytest.fixture
async def people(settled: tuple[Path, dict[str, str]], tmp_path: Path) -> AsyncIterator[People]:
    async with reopen(settled, tmp_path) as one:
        yield one


# admin, system reader, then the domain's admin, manager and reader, a project's member, and nobody.
MATRIX = [
    ("GET", "/users/{ann}", None, "200 200 200 200 200 403 401"),
    ("GET", "/users/{bob}", None, "200 200 403 403 403 403 401"),
    ("PATCH", "/users/{ann}", {"user": {"description": "x"}}, "200 403 200 200 403 403 401"),
    ("PATCH", "/users/{bob}", {"user": {"description": "x"}}, "200 403 403 403 403 403 401"),
    ("POST", "/users", {"user": {"name": "n", "domain_id": "{there}"}}, "201 403 403 403 403 403 401"),
    ("GET", "/groups/{team}", None, "200 200 200 200 200 403 401"),
    ("GET", "/groups/{gang}/users", None, "200 200 403 403 403 403 401"),
    ("PUT", "/groups/{team}/users/{ann}", None, "204 403 204 204 403 403 401"),
    ("PUT", "/groups/{team}/users/{bob}", None, "204 403 403 403 403 403 401"),
    ("GET", "/users/{ann}/groups", None, "200 200 200 200 200 403 401"),
    ("PATCH", "/groups/{gang}", {"group": {"description": "x"}}, "200 403 403 403 403 403 401"),
    ("GET", "/projects/{lab}", None, "200 200 200 200 200 200 401"),
    ("GET", "/projects/{den}", None, "200 200 403 403 403 403 401"),
    ("PUT", "/projects/{lab}/tags/t", None, "201 403 201 201 403 403 401"),
    ("PUT", "/projects/{den}/tags/t", None, "201 403 403 403 403 403 401"),
    ("POST", "/projects", {"project": {"name": "n", "domain_id": "{there}"}}, "201 403 403 403 403 403 401"),
    ("DELETE", "/projects/{den}", None, "204 403 403 403 403 403 401"),
    ("GET", "/domains/{here}", None, "200 200 200 200 200 200 401"),
    ("GET", "/domains/{there}", None, "200 200 403 403 403 403 401"),
    ("POST", "/domains", {"domain": {"name": "n"}}, "201 403 403 403 403 403 401"),
    ("POST", "/projects", {"project": {"name": "n", "is_domain": True}}, "201 403 403 403 403 403 401"),
    ("GET", "/roles", None, "200 200 200 200 403 403 401"),
    ("POST", "/roles", {"role": {"name": "n"}}, "201 403 403 403 403 403 401"),
    ("PUT", "/projects/{lab}/users/{ann}/roles/{role-member}", None, "204 403 204 204 403 403 401"),
    ("PUT", "/projects/{lab}/users/{ann}/roles/{role-admin}", None, "204 403 403 403 403 403 401"),
    ("PUT", "/projects/{lab}/groups/{team}/roles/{role-admin}", None, "204 403 403 403 403 403 401"),
    ("PUT", "/domains/{here}/users/{ann}/roles/{role-admin}", None, "204 403 403 403 403 403 401"),
    (
        "PUT",
        "/OS-INHERIT/domains/{here}/users/{ann}/roles/{role-admin}/inherited_to_projects",
        None,
        "204 403 403 403 403 403 401",
    ),
    ("PUT", "/projects/{den}/users/{ann}/roles/{role-member}", None, "204 403 403 403 403 403 401"),
    ("PUT", "/projects/{lab}/users/{bob}/roles/{role-member}", None, "204 403 403 403 403 403 401"),
    ("PUT", "/domains/{here}/groups/{team}/roles/{role-reader}", None, "204 403 204 204 403 403 401"),
    ("PUT", "/system/users/{ann}/roles/{role-reader}", None, "204 403 403 403 403 403 401"),
    ("GET", "/system/groups/{team}/roles", None, "200 200 403 403 403 403 401"),
    ("PUT", "/roles/{role-service}/implies/{role-reader}", None, "201 403 403 403 403 403 401"),
    ("GET", "/role_inferences", None, "200 200 403 403 403 403 401"),
    ("GET", "/role_assignments", None, "200 200 200 200 200 403 401"),
    ("GET", "/users/none", None, "404 404 403 403 403 403 401"),
]


async def test_who_may_see_what(people: People) -> None:
    for row in MATRIX:
        if row[0] == "GET":
            await _try_all(people, *row)


@pytest.mark.parametrize("row", [row for row in MATRIX if row[0] != "GET"], ids=lambda row: f"{row[0]} {row[1]}")
async def test_who_may_change_what(people: People, row: tuple[str, str, Any, str]) -> None:
    await _try_all(people, *row)


async def _try_all(people: People, method: str, path: str, body: Any, expected: str) -> None:
    """Nobody first and the administrator last, who would leave nothing to do for others."""
    for who, status in reversed(list(zip(WHO, expected.split(), strict=True))):
        given = {k: {n: v.format(**people.ids) if isinstance(v, str) else v for n, v in row.items()}
            for k, row in body.items()} if body else None  # fmt: skip
        answer = await people.ask(method, path, who, given)
        assert answer.status_code == int(status), (who, path, answer.text)


@pytest.mark.parametrize("plural", ["users", "groups", "projects", "domains", "role_assignments"])
async def test_lists_end_at_the_callers_domain(people: People, plural: str) -> None:
    await people.do("PUT", "/projects/{den}/users/{bob}/roles/{role-member}")
    there = {people.ids[name] for name in ("there", "den", "bob", "gang")}
    everything = (await people.ask("GET", f"/{plural}", "admin")).text
    assert any(one in everything for one in there)
    for who in ("domain-admin", "domain-manager", "domain-reader"):
        for query in ("", "?domain_id={there}", "?scope.project.id={den}"):
            shown = await people.ask("GET", f"/{plural}{query}", who)
            assert shown.status_code == 200
            rows = shown.json()[plural]
            assert not any(one in str(rows) for one in there), query
            assert rows or query
    assert (await people.ask("GET", f"/{plural}", "member")).status_code == 403


async def test_limits_end_at_the_callers_domain(people: People) -> None:
    service = (await people.do("POST", "/services", {"service": {"type": "compute", "name": "nova"}}))["service"]["id"]
    base = {"service_id": service, "resource_name": "cores"}
    await people.do("POST", "/registered_limits", {"registered_limits": [{**base, "default_limit": 5}]})
    limits = [{**base, "project_id": people.ids[name], "resource_limit": 7} for name in ("lab", "den")]
    await people.do("POST", "/limits", {"limits": limits})
    for who, names in (("admin", ["lab", "den"]), ("domain-admin", ["lab"]), ("member", ["lab"])):
        shown = (await people.ask("GET", "/limits", who)).json()["limits"]
        assert {one["project_id"] for one in shown} == {people.ids[name] for name in names}, who


async def test_a_manager_makes_things_in_the_own_domain(people: People) -> None:
    for kind in ("user", "group", "project"):
        made = await people.ask("POST", f"/{kind}s", "domain-manager", {kind: {"name": "new"}})
        assert (made.status_code, made.json()[kind]["domain_id"]) == (201, people.ids["here"])
        one = f"/{kind}s/{made.json()[kind]['id']}"
        assert (await people.ask("DELETE", one, "domain-manager")).status_code == 204


@pytest.mark.parametrize(
    ("place", "role", "statuses"),
    [
        ("/domains/{here}", "manager", "204 204"),
        ("/projects/{lab}", "member", "204 204"),
        ("/domains/{here}", "admin", "403 204"),
        ("/projects/{lab}", "admin", "403 403"),
        ("/projects/{lab}", "service", "403 403"),
        ("/projects/{den}", "reader", "403 403"),
        ("/domains/{there}", "reader", "403 403"),
        ("/system", "reader", "403 403"),
    ],
)
@pytest.mark.parametrize("by_group", [False, True])
async def test_managers_take_over_nobody_with_more_rights(
    people: People, place: str, role: str, statuses: str, by_group: bool
) -> None:
    holder = "groups/{team}" if by_group else "users/{ann}"
    await people.do("PUT", f"{place}/{holder}/roles/{{role-{role}}}")
    if by_group:
        await people.do("PUT", "/groups/{team}/users/{ann}")
    for who, status in zip(("domain-manager", "domain-admin"), map(int, statuses.split()), strict=True):
        for change in ({"password": "annpw"}, {"enabled": True}, {"options": {"lock_password": False}}):
            answer = await people.ask("PATCH", "/users/{ann}", who, {"user": change})
            assert answer.status_code == (200 if status == 204 else status), (who, change, answer.text)
        assert (await people.ask("PATCH", "/users/{ann}", who, {"user": {"description": who}})).status_code == 200
        for method in ("PUT", "DELETE") if by_group else ():
            assert (await people.ask(method, "/groups/{team}/users/{member}", who)).status_code == status
    if status == 403:
        assert (await people.ask("DELETE", f"/{holder}", who)).status_code == 403


async def test_rights_follow_groups_at_once(people: People) -> None:
    here = {"project": {"id": people.ids["lab"]}}
    assert await people.roles("ann", here) == 401
    await people.do("PUT", "/projects/{lab}/groups/{team}/roles/{role-member}")
    await people.do("PUT", "/groups/{team}/users/{ann}")
    assert (await people.ask("HEAD", "/groups/{team}/users/{ann}")).status_code == 204
    assert (await people.ask("HEAD", "/groups/{team}/users/{member}")).status_code == 404
    assert await people.roles("ann", here) == ["member", "reader"]
    assert (await people.ask("GET", "/auth/projects", "ann")).json()["projects"][0]["name"] == "lab"
    assert [g["name"] for g in (await people.do("GET", "/users/{ann}/groups"))["groups"]] == ["team"]
    assert [u["name"] for u in (await people.do("GET", "/groups/{team}/users"))["users"]] == ["ann"]
    (one,) = [a for a in await _assignments(people, "effective&user.id={ann}&include_names") if
        a["role"]["name"] == "member"]  # fmt: skip
    assert one["scope"]["project"]["domain"]["name"] == "here"
    assert one["links"]["membership"].endswith(people.ids["team"] + "/users/" + people.ids["ann"])
    (row,) = await _assignments(people, "group.id={team}&include_names")
    assert (row["group"]["name"], row["role"]["name"]) == ("team", "member")
    await people.do("DELETE", "/groups/{team}/users/{ann}")
    assert (await people.ask("GET", "/auth/projects", "ann")).status_code == 401
    assert (await people.ask("DELETE", "/groups/{team}/users/{ann}")).status_code == 404
    await people.do("PUT", "/groups/{team}/users/{ann}")
    assert await people.roles("ann", here) == ["member", "reader"]
    await people.do("DELETE", "/groups/{team}")
    assert await people.roles("ann", here) == 401
    assert await _assignments(people, "scope.project.id={lab}&user.id={ann}") == []


async def test_projects_below_inherit(people: People) -> None:
    await people.make("project", "leaf", domain_id=people.ids["here"], parent_id=people.ids["lab"])
    root, leaf = {"project": {"id": people.ids["lab"]}}, {"project": {"id": people.ids["leaf"]}}
    one = "/OS-INHERIT/projects/{lab}/users/{ann}/roles/{role-reader}/inherited_to_projects"
    for method, status in (("HEAD", 404), ("PUT", 204), ("PUT", 204), ("HEAD", 204)):
        assert (await people.ask(method, one)).status_code == status
    assert (await people.roles("ann", root), await people.roles("ann", leaf)) == (401, ["reader"])
    (row,) = await _assignments(people, "effective&user.id={ann}")
    assert (row["scope"]["project"]["id"], row["scope"]["OS-INHERIT:inherited_to"]) == (people.ids["leaf"], "projects")
    assert row["links"]["assignment"].endswith("/inherited_to_projects")
    below = "/OS-INHERIT/domains/{here}/groups/{team}/roles"
    await people.do("PUT", f"{below}/{{role-manager}}/inherited_to_projects")
    assert [r["name"] for r in (await people.do("GET", f"{below}/inherited_to_projects"))["roles"]] == ["manager"]
    await people.do("PUT", "/groups/{team}/users/{ann}")
    assert await people.roles("ann", root) == ["manager", "member", "reader"]
    assert await people.roles("ann", {"domain": {"id": people.ids["here"]}}) == 401
    await people.do("DELETE", f"{below}/{{role-manager}}/inherited_to_projects")
    await people.do("DELETE", one)
    assert (await people.roles("ann", root), await people.roles("ann", leaf)) == (401, 401)


ASSIGNMENT_FILTERS = [
    ("effective&group.id=x", 400),
    ("user.id=x&group.id=x", 400),
    ("scope.project.id=x&scope.domain.id=x", 400),
    ("scope.project.id=x&scope.system=all", 400),
    ("include_subtree", 400),
    ("effective&scope.domain.id=x&scope.OS-INHERIT:inherited_to=projects", 400),
    ("user.id=x&role.id=x&scope.system=all", 200),
    ("scope.project.id={lab}&include_subtree&effective&include_names", 200),
    ("scope.OS-INHERIT:inherited_to=projects", 200),
]


async def test_filters_of_assignments(people: People) -> None:
    for query, status in ASSIGNMENT_FILTERS:
        assert (await people.ask("GET", f"/role_assignments?{query}")).status_code == status, query


async def test_roles_imply_without_rings(people: People) -> None:
    for name in ("a", "b"):
        await people.make("role", name)
    await people.make("role", "own", domain_id=people.ids["here"])
    ring = (("{a}", "{b}", 201), ("{b}", "{a}", 403), ("{a}", "{a}", 403), ("{a}", "{role-admin}", 403))
    for prior, implied, status in (*ring, ("{a}", "{own}", 403), ("{own}", "{a}", 201), ("{a}", "none", 404)):
        assert (await people.ask("PUT", f"/roles/{prior}/implies/{implied}")).status_code == status
    shown = (await people.do("GET", "/roles/{a}/implies"))["role_inference"]
    assert (shown["prior_role"]["name"], [r["name"] for r in shown["implies"]]) == ("a", ["b"])
    assert (await people.do("GET", "/roles/{a}/implies/{b}"))["role_inference"]["implies"]["name"] == "b"
    await people.do("PUT", "/projects/{lab}/users/{ann}/roles/{own}")
    here = {"project": {"id": people.ids["lab"]}}
    assert await people.roles("ann", here) == ["a", "b"]
    for place, status in (("/projects/{den}", 403), ("/system", 403)):
        assert (await people.ask("PUT", f"{place}/users/{{ann}}/roles/{{own}}")).status_code == status
    assert [r["name"] for r in (await people.do("GET", "/roles?domain_id={here}"))["roles"]] == ["own"]
    assert (await people.ask("PUT", "/domains/{there}/users/{ann}/roles/{own}")).status_code == 403
    # Another domain's role is not given by its name.
    people.ids["alien"] = (
        await people.do("POST", "/roles", {"role": {"name": "member", "domain_id": people.ids["there"]}})
    )["role"]["id"]
    for place in ("/domains/{here}", "/projects/{lab}"):
        for who in ("domain-manager", "domain-admin", "admin"):
            assert (await people.ask("PUT", f"{place}/users/{{ann}}/roles/{{alien}}", who)).status_code == 403
    assert "own" not in [r["name"] for r in (await people.do("GET", "/roles"))["roles"]]
    await people.do("DELETE", "/roles/{a}/implies/{b}")
    assert (await people.ask("HEAD", "/roles/{a}/implies/{b}")).status_code == 404
    assert await people.roles("ann", here) == ["a"]
    await people.do("DELETE", "/roles/{own}")
    assert await people.roles("ann", here) == 401


async def test_trees_of_projects(people: People) -> None:
    above = "lab"
    for name in ("p2", "p3", "p4", "p5"):
        await people.make("project", name, parent_id=people.ids[above], domain_id=people.ids["here"])
        above = name
    deep = {"project": {"name": "p6", "parent_id": people.ids["p5"], "domain_id": people.ids["here"]}}
    assert (await people.ask("POST", "/projects", body=deep)).status_code == 403
    ids = people.ids
    shown = (await people.do("GET", "/projects/{p3}?parents_as_ids&subtree_as_ids"))["project"]
    assert shown["parents"] == {ids["p2"]: {ids["lab"]: {ids["here"]: None}}}
    assert shown["subtree"] == {ids["p4"]: {ids["p5"]: None}}
    await people.do("PUT", "/projects/{p2}/users/{admin}/roles/{role-reader}")
    shown = (await people.do("GET", "/projects/{p3}?parents_as_list&subtree_as_list"))["project"]
    assert ([p["project"]["name"] for p in shown["parents"]], shown["subtree"]) == (["p2"], [])
    assert (await people.ask("GET", "/projects/{p3}?parents_as_list&parents_as_ids")).status_code == 400
    for path, body, status in (
        ("/projects/{p3}", {"parent_id": ids["lab"]}, 403),
        ("/projects/{p3}", {"parent_id": ids["p2"], "description": "same"}, 200),
        ("/projects/{p3}", {"domain_id": ids["there"]}, 400),
        ("/projects/{p3}", {"is_domain": True}, 400),
        ("/projects/{p3}", {"enabled": False}, 403),
        ("/projects/{p5}", {"enabled": False}, 200),
        ("/projects/{p4}", {"enabled": False}, 200),
        ("/projects/{p5}", {"enabled": True}, 403),
    ):
        assert (await people.ask("PATCH", path, body={"project": body})).status_code == status, body
    under = {"project": {"name": "x", "parent_id": ids["p4"]}}
    assert (await people.ask("POST", "/projects", body=under)).status_code == 400
    alien = {"project": {"name": "x", "parent_id": ids["p2"], "domain_id": ids["there"]}}
    assert (await people.ask("POST", "/projects", body=alien)).status_code == 400
    assert (await people.ask("DELETE", "/projects/{p2}")).status_code == 403
    assert [p["name"] for p in (await people.do("GET", "/projects?parent_id={p4}"))["projects"]] == ["p5"]


async def test_a_domain_is_a_project_to_who_asks_so(people: People) -> None:
    made = (await people.do("POST", "/projects", {"project": {"name": "realm", "is_domain": True}}))["project"]
    assert (made["is_domain"], made["domain_id"], made["parent_id"]) == (True, None, None)
    people.ids["realm"] = made["id"]
    assert (await people.do("GET", "/domains/{realm}"))["domain"]["name"] == "realm"
    listed = [p["name"] for p in (await people.do("GET", "/projects?is_domain=true"))["projects"]]
    assert {"realm", "here", "Default"} <= set(listed)
    assert "lab" not in listed
    await people.do("PATCH", "/projects/{realm}", {"project": {"enabled": False}})
    await people.do("DELETE", "/projects/{realm}")
    assert (await people.ask("GET", "/domains/{realm}")).status_code == 404


async def test_a_domain_goes_with_all_that_is_in_it(people: People) -> None:
    await people.do("PUT", "/projects/{lab}/users/{bob}/roles/{role-member}")
    await people.do("PUT", "/groups/{gang}/users/{ann}")
    assert (await people.ask("DELETE", "/domains/{there}")).status_code == 403
    await people.do("PATCH", "/domains/{there}", {"domain": {"enabled": False}})
    assert await people.roles("bob", {"project": {"id": people.ids["lab"]}}) == 401
    await people.do("DELETE", "/domains/{there}")
    for path in ("/users/{bob}", "/groups/{gang}", "/projects/{den}", "/domains/{there}"):
        assert (await people.ask("GET", path)).status_code == 404
    assert await _assignments(people, "user.id={bob}") == []
    assert (await people.do("GET", "/users/{ann}/groups"))["groups"] == []


async def test_tags(people: People) -> None:
    tags = "/projects/{lab}/tags"
    assert (await people.do("PUT", tags, {"tags": ["b", "a"]}))["tags"] == ["b", "a"]
    for tag, status in (("c", 201), ("c", 201), ("x,y", 400), ("z" * 256, 400), ("%20", 400)):
        assert (await people.ask("PUT", f"{tags}/{tag}")).status_code == status
    assert (await people.do("GET", tags))["tags"] == ["a", "b", "c"]
    assert (await people.do("GET", "/projects/{lab}"))["project"]["tags"] == ["a", "b", "c"]
    for bad in (["x,y"], ["x/y"], ["x", "x"], [""], ["x" * 256], [str(n) for n in range(81)], "x"):
        assert (await people.ask("PUT", tags, body={"tags": bad})).status_code == 400
    await people.do("PUT", tags, {"tags": [str(n) for n in range(80)]})
    assert (await people.ask("PUT", f"{tags}/more")).status_code == 400
    await people.do("PUT", tags, {"tags": ["a", "b"]})
    await people.do("PUT", "/projects/{den}/tags", {"tags": ["a"]})
    for query, names in (
        ("tags=a,b", ["lab"]), ("tags-any=a,x", ["lab", "den"]), ("not-tags=a,b", ["admin", "demo", "den"]),
        ("not-tags-any=a", ["admin", "demo"]), ("tags=a&not-tags-any=b", ["den"]),
    ):  # fmt: skip
        found = await people.do("GET", f"/projects?{query}")
        assert sorted(p["name"] for p in found["projects"]) == sorted(names), query
    for method, path, status in (
        ("HEAD", "/a", 204),
        ("DELETE", "/a", 204),
        ("HEAD", "/a", 404),
        ("DELETE", "/a", 404),
    ):
        assert (await people.ask(method, tags + path)).status_code == status
    await people.do("DELETE", tags)
    assert (await people.do("GET", tags))["tags"] == []


@pytest.mark.parametrize("kind", ["project", "domain", "role"])
async def test_what_is_immutable_stays(people: People, kind: str) -> None:
    one = f"/{kind}s/{await people.make(kind, 'rock', options={'immutable': True})}"
    assert (await people.do("GET", one))[kind]["options"] == {"immutable": True}
    free: dict[str, Any] = {"options": {"immutable": False}}
    for body in ({"name": "y"}, {"options": {}}, {**free, "name": "y"}, {"options": {"immutable": None}}):
        assert (await people.ask("PATCH", one, body={kind: body})).status_code == 403
    assert (await people.ask("DELETE", one)).status_code == 403
    if kind == "project":
        assert (await people.ask("PUT", f"{one}/tags/t")).status_code == 403
    assert (await people.ask("PATCH", one, body={kind: {"options": {"nonsense": True}}})).status_code == 400
    await people.do("PATCH", one, {kind: free})
    await people.do("PATCH", one, {kind: {"description": "soft"}})


async def test_too_many_wrong_passwords_lock_a_user_out(people: People) -> None:
    await people.do("PUT", "/projects/{lab}/users/{ann}/roles/{role-member}")
    for _ in range(3):
        assert (await people.log_in("ann", password="wrong")).status_code == 401
    assert (await people.log_in("ann")).status_code == 401
    change = {"user": {"original_password": "annpw", "password": "next"}}
    assert (await people.ask("POST", "/users/{ann}/password", None, change)).status_code == 401
    people.clock.seconds = 61
    assert (await people.log_in("ann")).status_code == 201
    await people.do("PATCH", "/users/{ann}", {"user": {"options": {"ignore_lockout_failure_attempts": True}}})
    for _ in range(4):
        assert (await people.log_in("ann", password="wrong")).status_code == 401
    assert (await people.log_in("ann")).status_code == 201


async def test_guessing_is_slowed_down_for_one_user_from_one_address(people: People) -> None:
    statuses = [(await people.log_in("bob", password="wrong")).status_code for _ in range(8)]
    assert statuses == [401] * 6 + [429] * 2
    assert (await people.log_in("member")).status_code == 201
    people.clock.seconds = 61
    assert (await people.log_in("bob", password="wrong")).status_code == 401


async def test_what_a_login_does_not_look_at_gives_no_more_guesses(people: People) -> None:
    bob, statuses = people.ids["bob"], []
    for n in range(8):
        user = {"id": bob, "name": f"any{n}", "domain": {"name": str(n)}, "password": "wrong"}
        identity = {
            "methods": ["password"],
            "password": {"user": user},
            "totp": {"user": {"id": str(n), "passcode": ""}},
        }
        statuses.append((await people.sign_in(identity)).status_code)
    assert statuses == [401] * 6 + [429] * 2


async def test_an_address_has_no_endless_guesses(people: People) -> None:
    statuses = []
    for n in range(62):
        user = {"id": f"nobody{n}", "password": "wrong"}
        statuses.append((await people.sign_in({"methods": ["password"], "password": {"user": user}})).status_code)
    assert statuses == [401] * 60 + [429] * 2


async def test_bad_requests_and_tokens_close_no_door_to_others(people: People) -> None:
    secret = {"application_credential": {"id": "none", "secret": "x"}, "methods": ["application_credential"]}
    for _ in range(7):
        for identity in (secret, {"methods": ["magic"]}, {"methods": ["token"], "token": {"id": "forged"}}):
            await people.sign_in(identity)
    assert (await people.sign_in(secret)).status_code == 429
    other = {**secret, "application_credential": {"id": "other", "secret": "x"}}
    assert (await people.sign_in(other)).status_code == 401
    assert (await people.sign_in({"methods": ["magic"]})).status_code == 401
    mine = (await people.log_in("member")).headers["x-subject-token"]
    assert (await people.sign_in({"methods": ["token"], "token": {"id": mine}})).status_code == 201


async def test_logins_at_once_wait_for_one_another(people: People) -> None:
    right = await asyncio.gather(*(people.log_in("member") for _ in range(12)))
    assert [one.status_code for one in right] == [201] * 12
    wrong = await asyncio.gather(*(people.log_in("bob", password="wrong") for _ in range(12)))
    assert sorted(one.status_code for one in wrong) == [401] * 6 + [429] * 6


async def test_options_of_users(people: People) -> None:
    await people.do("PUT", "/projects/{lab}/users/{ann}/roles/{role-member}")
    change = {"user": {"original_password": "annpw", "password": "next"}}

    async def set_to(**options: Any) -> None:
        await people.do("PATCH", "/users/{ann}", {"user": {"options": options}})

    await set_to(lock_password=True)
    assert (await people.ask("POST", "/users/{ann}/password", None, change)).status_code == 400
    await set_to(lock_password=None, multi_factor_auth_enabled=True, multi_factor_auth_rules=[["password", "totp"]])
    options = (await people.do("GET", "/users/{ann}"))["user"]["options"]
    assert options == {"multi_factor_auth_enabled": True, "multi_factor_auth_rules": [["password", "totp"]]}
    assert (await people.log_in("ann")).status_code == 401
    await set_to(multi_factor_auth_rules=[["password", "totp"], ["password"]])
    assert (await people.log_in("ann")).status_code == 201
    people.clock.seconds = 31 * 86400
    assert (await people.log_in("ann")).status_code == 401
    await set_to(ignore_password_expiry=True)
    assert (await people.log_in("ann")).status_code == 201
    for bad in ({"lock_password": "yes"}, {"multi_factor_auth_rules": [[]]}, {"other": 1}):
        assert (await people.ask("PATCH", "/users/{ann}", body={"user": {"options": bad}})).status_code == 400


USER_FILTERS: list[tuple[str, Any]] = [
    ("name=ann", ["ann"]), ("name__contains=er", ["domain-manager", "domain-reader", "system-reader",
    "project-reader", "member"]), ("name__istartswith=AN", ["ann"]), ("name__endswith=ob", ["bob"]),
    ("name__iendswith=NN", ["ann"]), ("enabled=false", []), ("domain_id={there}", ["bob"]),
    ("name__contains=%25", []), ("password_expires_at=lt:2020-01-01T00:00:00Z", []),
    ("password_expires_at=gt:2020-01-01T00:00:00Z&name=bob", ["bob"]), ("colour=red&name=bob", ["bob"]),
    ("password_expires_at=soon", 400), ("password_expires_at=xx:2020-01-01T00:00:00Z", 400), ("enabled=maybe", 400),
    ("limit=x", 400), ("marker=none", 400),
]  # fmt: skip


async def test_filters_of_users(people: People) -> None:
    for query, names in USER_FILTERS:
        answer = await people.ask("GET", f"/users?{query}")
        found = [u["name"] for u in answer.json()["users"]] if answer.is_success else answer.status_code
        assert found == names, query


async def test_lists_come_in_pages(people: People) -> None:
    names: list[str] = []
    path = "/users?limit=4"
    for _ in range(5):
        page = await people.do("GET", path)
        names += [u["name"] for u in page["users"]]
        if page["links"]["next"] is None:
            break
        assert (page["truncated"], len(page["users"])) == (True, 4)
        path = page["links"]["next"].removeprefix("http://cloud/identity/v3")
    assert sorted(names) == sorted({"admin", "demo", "ann", "bob", *PEOPLE})
    assert "truncated" not in page


async def test_unknown_attributes_are_kept_and_ids_are_not_chosen(people: People) -> None:
    made = await people.do("POST", "/users", {"user": {"name": "eve", "email": "e@x", "id": "mine", "colour": None}})
    assert (made["user"]["email"], made["user"]["colour"]) == ("e@x", None)
    assert made["user"]["id"] != "mine"
    assert "password" not in made["user"]


async def _assignments(people: People, query: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await people.do("GET", f"/role_assignments?{query}"))["role_assignments"]
    return found
