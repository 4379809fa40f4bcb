"""What proves who asks, by the vectors of its standards; and which requests an access rule means."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b32encode, b64encode
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest

from kilonova.cloud.identity import signature, totp
from kilonova.core.access import AccessRule
from kilonova.core.errors import Unauthenticated

SECRET = b32encode(b"12345678901234567890").decode()


@pytest.mark.parametrize(
    ("moment", "code"),
    [(59, "287082"), (1111111109, "081804"), (1111111111, "050471"), (1234567890, "005924"), (2000000000, "279037")],
)
def test_one_time_passwords_are_those_of_rfc_6238(moment: int, code: str) -> None:
    """Appendix B, cut to 6 digits."""
    step = moment // 30
    assert totp.passcode(SECRET, step) == code
    assert totp.passcode(SECRET.rstrip("=").lower(), step) == code
    assert totp.find_step(SECRET, code, moment) == step
    assert totp.find_step(SECRET, code, moment + 30) == step
    assert totp.find_step(SECRET, code, moment + 60) is None
    assert totp.find_step(SECRET, code, moment - 30) is None
    assert totp.find_step("not base32!", code, moment) is None


def test_signature_version_4_is_that_of_amazon() -> None:
    """The example of AWS General Reference, "Complete example of a signed request" (IAM, ListUsers)."""
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    signed = {
        "host": "iam.amazonaws.com", "verb": "GET", "path": "/", "body_hash": empty,
        "params": {"Action": "ListUsers", "Version": "2010-05-08"},
        "headers": {
            "Content-Type": "application/x-www-form-urlencoded; charset=utf-8",
            "X-Amz-Date": "20150830T123600Z",
            "Authorization": "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, "
            "SignedHeaders=content-type;host;x-amz-date, Signature=x",
        },
        "signature": "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
    }  # fmt: skip
    secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
    now = datetime.fromisoformat("2015-08-30T12:36:00+00:00").timestamp()
    signature.verify_ec2(secret, signed, now)
    for wrong, moment in (({"path": "/x"}, now), ({}, now + 901), ({}, now - 901), ({"signature": "x"}, now)):
        with pytest.raises(Unauthenticated):
            signature.verify_ec2(secret, {**signed, **wrong}, moment)
    with pytest.raises(Unauthenticated):
        signature.verify_ec2("another", signed, now)


SECRET_KEY = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
NOW = datetime.fromisoformat("2026-11-25T12:00:00+00:00")


def presigned(life: str, *, day: str = "20261125", names: str = "host") -> dict[str, Any]:
    """A request whose signature is in its query, as far as version 4 goes; signed by what is under test."""
    params = {
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256", "X-Amz-Credential": f"AKID/{day}/us-east-1/ec2/aws4_request",
        "X-Amz-Date": "20261125T120000Z", "X-Amz-Expires": life, "X-Amz-SignedHeaders": names,
    }  # fmt: skip
    signed = {"host": "cloud", "verb": "GET", "path": "/", "params": params, "headers": {}}
    key = b"AWS4" + SECRET_KEY.encode()
    for part in (day, "us-east-1", "ec2", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    query = "&".join(f"{quote(k, safe='-_.~')}={quote(params[k], safe='-_.~')}" for k in sorted(params))
    lines = "".join(f"{name}:{'cloud' if name == 'host' else ''}\n" for name in names.split(";"))
    canonical = f"GET\n/\n{query}\n{lines}\n{names}\n{hashlib.sha256(b'').hexdigest()}"
    scope = f"{day}/us-east-1/ec2/aws4_request"
    text = f"AWS4-HMAC-SHA256\n20261125T120000Z\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    return {**signed, "signature": hmac.new(key, text.encode(), hashlib.sha256).hexdigest()}


@pytest.mark.parametrize(
    ("life", "after", "counts"),
    [("60", 59, True), ("60", 61, False), ("604800", 899, True), ("604800", 901, False), ("60", -899, True),
     ("60", -901, False), ("x", 0, False), ("-1", 0, False), ("", 0, False)],
)  # fmt: skip
def test_a_request_counts_no_longer_than_it_says_nor_than_a_quarter_of_an_hour(
    life: str, after: int, counts: bool
) -> None:
    signed = presigned(life)
    if counts:
        signature.verify_ec2(SECRET_KEY, signed, NOW.timestamp() + after)
        return
    with pytest.raises(Unauthenticated):
        signature.verify_ec2(SECRET_KEY, signed, NOW.timestamp() + after)


def test_a_signature_binds_the_host_and_the_day() -> None:
    unsendable = {**presigned("60"), "path": "/\ud800"}
    for wrong in (presigned("60", day="20261124"), presigned("60", names="date"), unsendable):
        with pytest.raises(Unauthenticated):
            signature.verify_ec2(SECRET_KEY, wrong, NOW.timestamp())


@pytest.mark.parametrize(("expires", "counts"), [(60, True), (899, True), (-1, False), (86400, False)])
def test_a_request_of_version_2_expires_within_a_quarter_of_an_hour(expires: int, counts: bool) -> None:
    params = {"SignatureVersion": "2", "SignatureMethod": "HmacSHA256",
              "Expires": (NOW + timedelta(seconds=expires)).strftime("%Y-%m-%dT%H:%M:%SZ")}  # fmt: skip
    pairs = "&".join(f"{quote(k, safe='-_~')}={quote(params[k], safe='-_~')}" for k in sorted(params))
    text = f"GET\ncloud\n/\n{pairs}"
    made = b64encode(hmac.digest(SECRET_KEY.encode(), text.encode(), "sha256")).decode()
    signed = {"host": "cloud", "verb": "GET", "path": "/", "params": params, "headers": {}, "signature": made}
    if counts:
        signature.verify_ec2(SECRET_KEY, signed, NOW.timestamp())
        return
    with pytest.raises(Unauthenticated):
        signature.verify_ec2(SECRET_KEY, signed, NOW.timestamp())


@pytest.mark.parametrize(
    ("path", "asked", "meant"),
    [
        ("/v2.1/servers", "/v2.1/servers", True),
        ("/v2.1/servers", "/v2.1/servers/x", False),
        ("/v2.1/servers/*", "/v2.1/servers/x", True),
        ("/v2.1/servers/*", "/v2.1/servers/x/y", False),
        ("/v2.1/servers/*", "/v2.1/servers/", False),
        ("/v2.1/servers/{server_id}/ips", "/v2.1/servers/x/ips", True),
        ("/v2.1/servers/{server_id}/ips", "/v2.1/servers/x/y/ips", False),
        ("/v2.1/**", "/v2.1/servers/x/y", True),
        ("**", "/anything/at/all", True),
        ("/v2.1/*.x", "/v2.1/a.x", True),
        ("/v2.1/*.x", "/v2.1/abx", False),
        ("/v2.(1", "/v2.(1", True),
    ],
)
def test_an_access_rule_means_what_its_path_says(path: str, asked: str, meant: bool) -> None:
    rule = AccessRule("1", "compute", "GET", path)
    assert rule.permits("compute", "GET", asked) is meant
    assert not rule.permits("compute", "POST", asked)
    assert not rule.permits("network", "GET", asked)


def test_no_access_rule_takes_long() -> None:
    rule = AccessRule("1", "compute", "GET", "/" + "**a" * 40 + "b")
    assert not rule.permits("compute", "GET", "/" + "a" * 2000)
    assert rule.permits("compute", "GET", "/" + "a" * 2000 + "b")
    assert not AccessRule("1", "compute", "GET", "/**").permits("compute", "GET", "/" + "a" * 5000)
