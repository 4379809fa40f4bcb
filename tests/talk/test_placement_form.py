"""How the Placement API refuses what it cannot read or answer."""

from __future__ import annotations

from typing import Any

import pytest
from placement_site import Resources


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("text/plain", 406), ("text/html,application/xhtml+xml;q=0.9", 406), ("application/json;q=0", 406),
        ("text/html,*/*;q=0.8", 200), ("application/*", 200), ("application/json;q=0,*/*", 406), ("", 200),
    ],
)  # fmt: skip
async def test_only_json_is_told(resources: Resources, accept: str, status: int) -> None:
    headers = {"x-auth-token": "admin", "accept": accept}
    told = await resources.http.get("/resource_providers", headers=headers)
    assert told.status_code == status, told.text


async def test_a_body_has_a_type(resources: Resources) -> None:
    async def send(method: str, path: str, **given: Any) -> tuple[int, str]:
        answer = await resources.http.request(method, path, **given)
        return answer.status_code, answer.text

    headers = {"x-auth-token": "admin"}
    status, said = await send("POST", "/resource_providers", headers=headers, content=b'{"name": "typeless"}')
    assert (status, "content-type header required" in said) == (400, True)
    status, said = await send("PUT", "/resource_providers/x", headers=headers)
    assert (status, "media type None is not supported" in said) == (415, True)
    typed = {**headers, "content-type": "application/json"}
    status, said = await send("PUT", "/resource_providers/x", headers=typed)
    assert (status, "Malformed JSON:" in said) == (400, True)
    assert (await resources.get("/resource_providers?name=typeless"))["resource_providers"] == []
    assert (await send("POST", "/resource_providers", content=b"{}"))[0] == 401


async def test_a_version_that_is_not_served_is_not_acceptable(resources: Resources) -> None:
    for version, status in (("0.9", 406), ("1.99", 406), ("1.2.3", 400), ("pony.horse", 400)):
        answer = await resources.ask("GET", "/resource_providers", version=version)
        assert answer.status_code == status
        assert version in answer.json()["errors"][0]["detail"]
    page = {"accept": "text/html", "openstack-api-version": "placement 0.5"}
    refused = await resources.http.get("/", headers=page)
    assert (refused.status_code, refused.headers["content-type"].split(";")[0]) == (406, "text/html")
    for version, coded in (("1.22", False), ("1.23", True)):
        nowhere = await resources.ask("GET", "/nowhere", version=version)
        assert (nowhere.status_code, "code" in nowhere.json()["errors"][0]) == (404, coded)
