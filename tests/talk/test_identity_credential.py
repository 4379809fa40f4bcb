"""Credentials and EC2 access keys over HTTP, and requests signed with such keys."""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from identity_site import Site, open_site

EMPTY = hashlib.sha256(b"").hexdigest()


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(tmp_path) as one:
        yield one


async def test_the_life_of_a_credential(site: Site, tmp_path: Path) -> None:
    other = await site.add("other")
    mine = {"user_id": site.ids.demo_user_id, "type": "cert", "blob": "a very secret thing"}
    made = await site.ask("POST", "/v3/credentials", "demo", json={"credential": mine})
    assert made.status_code == 201
    row = made.json()["credential"]
    assert {key: row[key] for key in mine} == mine
    stored = (tmp_path / "test.db").read_bytes() + (tmp_path / "test.db-wal").read_bytes()
    assert b"a very secret thing" not in stored
    one = f"/v3/credentials/{row['id']}"
    for who, status in (("", 401), ("other", 403), ("demo", 200), ("admin", 200)):
        assert (await site.ask("GET", one, who)).status_code == status
    foreign = {"credential": {**mine, "user_id": other}}
    assert (await site.ask("POST", "/v3/credentials", "demo", json=foreign)).status_code == 403
    assert (await site.ask("PATCH", one, "demo", json={"credential": {"user_id": other}})).status_code == 403
    changed = await site.ask("PATCH", one, "demo", json={"credential": {"blob": "next"}})
    assert changed.json()["credential"]["blob"] == "next"
    assert (await site.ask("PATCH", one, "other", json={"credential": {"blob": "x"}})).status_code == 403
    of_demo = f"?user_id={site.ids.demo_user_id}"
    for query, who, count in (
        ("", "demo", 1), ("", "other", 0), ("", "admin", 1), ("?type=ec2", "admin", 0), (of_demo, "other", 0),
        ("?type=cert", "demo", 1),
    ):  # fmt: skip
        listed = await site.ask("GET", f"/v3/credentials{query}", who)
        assert len(listed.json()["credentials"]) == count, (query, who)
    assert (await site.ask("DELETE", one, "other")).status_code == 403
    assert (await site.ask("DELETE", one, "demo")).status_code == 204
    assert (await site.ask("GET", one)).status_code == 404
    assert (await site.ask("GET", one, "demo")).status_code == 403


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({}, 400),
        ({"type": "cert"}, 400),
        ({"type": "cert", "blob": 1}, 400),
        ({"type": "", "blob": "x"}, 400),
        ({"type": "ec2", "blob": "not json"}, 400),
        ({"type": "ec2", "blob": "[]"}, 400),
        ({"type": "ec2", "blob": '{"secret": "x"}'}, 400),
        ({"type": "ec2", "blob": '{"access": "x"}', "project_id": None}, 400),
        ({"type": "cert", "blob": "x", "project_id": "none"}, 404),
        ({"type": "cert", "blob": "x", "user_id": "none"}, 404),
    ],
)
async def test_bad_credentials_are_refused(site: Site, given: Any, status: int) -> None:
    body = {"credential": {"user_id": site.ids.demo_user_id, "project_id": site.ids.demo_project_id, **given}}
    assert (await site.ask("POST", "/v3/credentials", json=body)).status_code == status
    assert (await site.ask("GET", "/v3/credentials")).json()["credentials"] == []


async def test_an_access_key_is_a_credential_with_the_hash_of_its_name(site: Site) -> None:
    blob = json.dumps({"access": "AKIA", "secret": "s"})
    body = {"credential": {"user_id": site.ids.demo_user_id, "project_id": site.ids.demo_project_id, "type": "ec2",
                           "blob": blob}}  # fmt: skip
    made = await site.ask("POST", "/v3/credentials", json=body)
    assert made.json()["credential"]["id"] == hashlib.sha256(b"AKIA").hexdigest()
    assert (await site.ask("POST", "/v3/credentials", json=body)).status_code == 409
    keys = f"/v3/users/{site.ids.demo_user_id}/credentials/OS-EC2"
    assert (await site.ask("GET", f"{keys}/AKIA", "demo")).json()["credential"]["secret"] == "s"


async def test_an_access_key_stays_the_one_that_it_is(site: Site) -> None:
    other = await site.add("other")
    mine, victim = await a_key(site), await a_key(site, "other", other)
    one = f"/v3/credentials/{hashlib.sha256(mine['access'].encode()).hexdigest()}"
    stolen = json.dumps({"access": victim["access"], "secret": "s"})
    changed = await site.ask("PATCH", one, "demo", json={"credential": {"blob": stolen}})
    assert changed.status_code == 409
    # By way of another type, too.
    assert (await site.ask("PATCH", one, "demo", json={"credential": {"type": "x", "blob": stolen}})).status_code == 200
    assert (await site.ask("PATCH", one, "demo", json={"credential": {"type": "EC2"}})).status_code == 400
    cert = {"user_id": site.ids.demo_user_id, "project_id": site.ids.demo_project_id, "type": "cert", "blob": stolen}
    made = await site.ask("POST", "/v3/credentials", "demo", json={"credential": cert})
    place = f"/v3/credentials/{made.json()['credential']['id']}"
    assert (await site.ask("PATCH", place, "demo", json={"credential": {"type": "ec2"}})).status_code == 400
    for access in (mine["access"], victim["access"]):
        path = f"/v3/users/{site.ids.demo_user_id}/credentials/OS-EC2/{access}"
        assert (await site.ask("DELETE", path, "demo")).status_code == 404
    assert (await site.ask("GET", f"/v3/users/{other}/credentials/OS-EC2/{victim['access']}", "other")).is_success


async def test_an_access_key_may_get_another_secret_or_name(site: Site) -> None:
    key = await a_key(site)
    one = f"/v3/credentials/{hashlib.sha256(key['access'].encode()).hexdigest()}"
    blob = json.dumps({"access": key["access"], "secret": "new"})
    changed = await site.ask("PATCH", one, "demo", json={"credential": {"blob": blob, "type": "EC2"}})
    assert changed.json()["credential"]["type"] == "ec2"
    keys = f"/v3/users/{site.ids.demo_user_id}/credentials/OS-EC2"
    (shown,) = (await site.ask("GET", keys, "demo")).json()["credentials"]
    assert shown["secret"] == "new"
    renamed = json.dumps({"access": "another", "secret": "new"})
    assert (await site.ask("PATCH", one, "demo", json={"credential": {"blob": renamed}})).status_code == 200
    assert (await site.ask("GET", f"{keys}/another", "demo")).status_code == 404
    assert (await site.ask("DELETE", f"{keys}/{key['access']}", "demo")).status_code == 204


async def test_who_makes_sees_and_removes_access_keys(site: Site) -> None:
    other = await site.add("other")
    await site.add("auditor", "reader")
    keys = f"/v3/users/{site.ids.demo_user_id}/credentials/OS-EC2"
    body = {"tenant_id": site.ids.demo_project_id}
    for who, status in (("", 401), ("other", 403), ("auditor", 403)):
        assert (await site.ask("POST", keys, who, json=body)).status_code == status
    for given, status in (({}, 400), ({"tenant_id": "none"}, 404), ({"tenant_id": 1}, 400)):
        assert (await site.ask("POST", keys, "demo", json=given)).status_code == status
    made = await site.ask("POST", keys, "demo", json=body)
    assert made.status_code == 201
    key = made.json()["credential"]
    assert (key["user_id"], key["tenant_id"]) == (site.ids.demo_user_id, site.ids.demo_project_id)
    one = f"{keys}/{key['access']}"
    for who, status in (("other", 403), ("auditor", 403), ("demo", 200), ("admin", 200)):
        assert (await site.ask("GET", one, who)).status_code == status
        assert (await site.ask("GET", keys, who)).status_code == status
    # Another's key under one's own path is not found.
    assert (await site.ask("GET", f"/v3/users/{other}/credentials/OS-EC2/{key['access']}", "other")).status_code == 404
    assert (await site.ask("DELETE", one, "other")).status_code == 403
    assert (await site.ask("DELETE", one, "demo")).status_code == 204
    assert (await site.ask("GET", one, "demo")).status_code == 404


def v4(key: dict[str, str], moment: datetime, *, verb: str = "GET") -> dict[str, Any]:
    """A request as a service tells of it, signed as AWS General Reference says."""
    path, host, shown = "/", "cloud:8788", "Action=X&Version=1" if verb == "GET" else ""
    stamp, day = moment.strftime("%Y%m%dT%H%M%SZ"), moment.strftime("%Y%m%d")
    scope = f"{day}/us-east-1/ec2/aws4_request"
    signed = "host;x-amz-date"
    canonical = f"{verb}\n{path}\n{shown}\nhost:{host}\nx-amz-date:{stamp}\n\n{signed}\n{EMPTY}"
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    signature = hmac.new(derive(key["secret"], day, "us-east-1", "ec2"), text.encode(), hashlib.sha256).hexdigest()
    authorization = (
        f"AWS4-HMAC-SHA256 Credential={key['access']}/{scope}, SignedHeaders={signed}, Signature={signature}"
    )
    return {
        "access": key["access"], "signature": signature, "host": host, "verb": verb, "path": path,
        "params": {"Action": "X", "Version": "1"}, "body_hash": EMPTY,
        "headers": {"Host": host, "X-Amz-Date": stamp, "Authorization": authorization},
    }  # fmt: skip


def derive(secret: str, *parts: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (*parts, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def v2(key: dict[str, str], moment: datetime) -> dict[str, Any]:
    params = {"Action": "X", "AWSAccessKeyId": key["access"], "SignatureVersion": "2", "SignatureMethod": "HmacSHA256",
              "Timestamp": moment.strftime("%Y-%m-%dT%H:%M:%SZ")}  # fmt: skip
    pairs = "&".join(f"{quote(k, safe='-_~')}={quote(params[k], safe='-_~')}" for k in sorted(params))
    text = f"GET\ncloud:8788\n/services/Cloud\n{pairs}"
    signature = b64encode(hmac.digest(key["secret"].encode(), text.encode(), "sha256")).decode()
    return {"access": key["access"], "signature": signature, "host": "cloud:8788", "verb": "GET",
            "path": "/services/Cloud", "params": params, "headers": {}}  # fmt: skip


async def a_key(site: Site, who: str = "demo", user_id: str = "") -> dict[str, str]:
    path = f"/v3/users/{user_id or site.ids.demo_user_id}/credentials/OS-EC2"
    answer = await site.ask("POST", path, who, json={"tenant_id": site.ids.demo_project_id})
    return dict(answer.json()["credential"])


@pytest.mark.parametrize("sign", [v2, v4])
async def test_a_service_learns_who_signed_a_request(site: Site, sign: Any) -> None:
    key, now = await a_key(site), datetime.now(UTC)
    good, posted = sign(key, now), v4(key, now, verb="POST")
    answer = await site.ask("POST", "/v3/ec2tokens", json={"credentials": good})
    assert answer.status_code == 200
    token = answer.json()["token"]
    assert (token["user"]["id"], token["project"]["id"]) == (site.ids.demo_user_id, site.ids.demo_project_id)
    assert {role["name"] for role in token["roles"]} == {"member", "reader"}
    mine = answer.headers["x-subject-token"]
    assert (await site.ask("GET", "/v3/auth/projects", token=mine)).status_code == 200
    assert (
        await site.ask("GET", f"/v3/users/{site.ids.demo_user_id}/credentials/OS-EC2", token=mine)
    ).status_code == 403
    assert (await site.ask("POST", "/v3/ec2tokens", "demo", json={"credentials": good})).status_code == 403
    assert (await site.client.post("/v3/ec2tokens", json={"credentials": good})).status_code == 401
    for wrong, status in (
        ({**good, "signature": "x"}, 401),
        ({**good, "signature": None}, 401),
        ({**good, "path": "/other"}, 401),
        ({**good, "verb": "POST"}, 401),
        ({**good, "params": {**good["params"], "Action": "Y"}}, 401),
        ({**good, "host": "elsewhere"}, 401),
        ({**good, "access": "none"}, 404),
        ({}, 401),
    ):
        assert (await site.ask("POST", "/v3/ec2tokens", json={"credentials": wrong})).status_code == status, wrong
    for shift in (-16 * 60, 16 * 60):
        site.clock.by = shift
        assert (await site.ask("POST", "/v3/ec2tokens", json={"credentials": good})).status_code == 401
        # With version 4 of a POST the parameters are not signed: no time in them counts.
        later = (now + timedelta(seconds=shift)).strftime("%Y-%m-%dT%H:%M:%SZ")
        for unsigned in ({"Timestamp": later}, {"Expires": "2999-01-01T00:00:00Z"}):
            again = {**posted, "params": {**posted["params"], **unsigned}}
            assert (await site.ask("POST", "/v3/ec2tokens", json={"credentials": again})).status_code == 401
    site.clock.by = 0
    await site.services.directory.change("user", site.ids.demo_user_id, {"enabled": False})
    assert (await site.ask("POST", "/v3/ec2tokens", json={"credentials": good})).status_code == 401


async def test_an_object_store_learns_who_signed_a_request(site: Site) -> None:
    key = await a_key(site)
    old = b"GET\n\n\nToday\n/bucket/key"
    by_old = b64encode(hmac.digest(key["secret"].encode(), old, "sha1")).decode()
    new = b"AWS4-HMAC-SHA256\n20261125T000000Z\n20261125/us-east-1/s3/aws4_request\nabc"
    by_new = hmac.new(derive(key["secret"], "20261125", "us-east-1", "s3"), new, hashlib.sha256).hexdigest()
    for text, signature in ((old, by_old), (new, by_new)):
        token = urlsafe_b64encode(text).decode()
        signed = {"access": key["access"], "token": token, "signature": signature}
        answer = await site.ask("POST", "/v3/s3tokens", json={"credentials": signed})
        assert answer.json()["token"]["user"]["id"] == site.ids.demo_user_id
        for wrong in ({"signature": "x"}, {"token": urlsafe_b64encode(text + b"x").decode()}, {"signature": None}):
            body = {"credentials": {**signed, **wrong}}
            assert (await site.ask("POST", "/v3/s3tokens", json=body)).status_code == 401
    assert (await site.ask("POST", "/v3/s3tokens", "demo", json={"credentials": signed})).status_code == 403
