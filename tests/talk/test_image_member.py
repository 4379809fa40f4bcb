"""Sharing images: who may offer, answer, see, and what each is told otherwise."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from image_site import RAW, Site, open_site

from kilonova.kit.db import Database


@pytest.fixture
async def site(database: Database, tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(database, tmp_path) as site:
        yield site


async def offer(site: Site, to: str = "bob") -> str:
    image_id = await site.create()
    answer = await site.ann.post(f"/v2/images/{image_id}/members", json={"member": to})
    assert answer.status_code == 200, answer.text
    return image_id


async def names(client: httpx.AsyncClient, query: str = "") -> list[str]:
    return [image["id"] for image in (await client.get(f"/v2/images{query}")).json()["images"]]


async def test_an_offer_is_made_answered_and_withdrawn(site: Site) -> None:
    image_id = await offer(site)
    url = f"/v2/images/{image_id}"
    await site.fill(image_id)
    [member] = (await site.ann.get(f"{url}/members")).json()["members"]
    assert (member["member_id"], member["image_id"], member["status"]) == ("bob", image_id, "pending")
    assert member["schema"] == "/v2/schemas/member"
    assert (await site.bob.get(url)).status_code == 200
    assert await names(site.bob) == []
    assert await names(site.bob, "?member_status=pending") == [image_id]
    assert await names(site.bob, "?member_status=all&visibility=shared") == [image_id]
    accepted = await site.bob.put(f"{url}/members/bob", json={"status": "accepted"})
    assert (accepted.status_code, accepted.json()["status"]) == (200, "accepted")
    assert await names(site.bob) == await names(site.bob, "?visibility=shared") == [image_id]
    assert (await site.bob.get(f"{url}/file")).content == RAW
    assert (await site.bob.put(f"{url}/members/bob", json={"status": "rejected"})).status_code == 200
    assert await names(site.bob) == []
    assert await names(site.bob, "?member_status=rejected") == [image_id]
    assert (await site.ann.delete(f"{url}/members/bob")).status_code == 204
    assert (await site.bob.get(url)).status_code == 404
    assert (await site.ann.get(f"{url}/members")).json() == {"members": [], "schema": "/v2/schemas/members"}


async def test_only_the_owner_manages_members_and_only_they_answer(site: Site) -> None:
    image_id = await offer(site)
    url = f"/v2/images/{image_id}/members"
    await site.ann.post(url, json={"member": "eve"})
    answers = [
        await site.bob.post(url, json={"member": "carl"}),
        await site.bob.delete(f"{url}/bob"),
        await site.ann.put(f"{url}/bob", json={"status": "accepted"}),
        await site.eve.put(f"{url}/eve", json={"status": "accepted"}),
        await site.bob.put(f"{url}/eve", json={"status": "accepted"}),
        await site.bob.get(f"{url}/eve"),
        await site.ann.get(f"{url}/nobody"),
        await site.ann.delete(f"{url}/nobody"),
        await site.ann.post(url, json={"member": "bob"}),
    ]
    assert [a.status_code for a in answers] == [403, 403, 403, 403, 404, 404, 404, 404, 409]
    assert [m["member_id"] for m in (await site.bob.get(url)).json()["members"]] == ["bob"]
    assert [(m["member_id"], m["status"]) for m in (await site.ann.get(url)).json()["members"]] == [
        ("bob", "pending"),
        ("eve", "pending"),
    ]
    assert (await site.admin.put(f"{url}/bob", json={"status": "accepted"})).json()["status"] == "accepted"
    assert (await site.bob.patch(url[:-8], content="[]", headers={"content-type": "x/y"})).status_code == 415
    assert (await site.bob.delete(url[:-8])).status_code == 403


@pytest.mark.parametrize("visibility", ["private", "community", "public"])
async def test_only_shared_images_have_members(site: Site, visibility: str) -> None:
    client = site.admin if visibility == "public" else site.ann
    image_id = await site.create(client, visibility=visibility)
    url = f"/v2/images/{image_id}/members"
    assert (await client.post(url, json={"member": "bob"})).status_code == 403
    assert (await client.get(url)).status_code == 403
    assert (await client.get(f"{url}/bob")).status_code == 404
    stranger = await site.bob.get(url)
    assert stranger.status_code == (404 if visibility == "private" else 403)


async def test_what_is_no_member_and_no_answer(site: Site) -> None:
    image_id = await offer(site)
    url = f"/v2/images/{image_id}/members"
    for body in ({}, {"member": ""}, {"member": 1}, {"member": "x" * 256}, []):
        assert (await site.ann.post(url, json=body)).status_code == 400, body
    for body in ({}, {"status": "maybe"}, {"status": None}):
        assert (await site.bob.put(f"{url}/bob", json=body)).status_code == 400, body
    assert (await site.bob.get("/v2/images?member_status=maybe")).status_code == 400
    assert (await site.eve.post(url, json={"member": "x"})).status_code == 403
    assert len((await site.ann.get(url)).json()["members"]) == 1


async def test_members_are_bounded_and_end_with_their_image(site: Site) -> None:
    image_id = await offer(site)
    url = f"/v2/images/{image_id}"
    for number in range(127):
        await site.ann.post(f"{url}/members", json={"member": f"p{number}"})
    assert (await site.ann.post(f"{url}/members", json={"member": "too-many"})).status_code == 413
    assert (await site.ann.delete(url)).status_code == 204
    assert (await site.ann.get(f"{url}/members")).status_code == 404
    assert await names(site.bob, "?member_status=all") == []


async def test_a_hidden_offer_pages_with_the_rest(site: Site) -> None:
    for _ in range(3):
        image_id = await offer(site)
        await site.bob.put(f"/v2/images/{image_id}/members/bob", json={"status": "accepted"})
    own = await site.create(site.bob)
    first = (await site.bob.get("/v2/images?limit=2&sort=created_at:asc")).json()
    rest = (await site.bob.get(first["next"])).json()
    assert len(first["images"]) == len(rest["images"]) == 2
    assert rest["images"][1]["id"] == own
