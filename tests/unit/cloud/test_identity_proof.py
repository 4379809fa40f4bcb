"""What proves who asks, by the vectors of its standards; and which requests an access rule means."""

from __future__ import annotations

from base64 import b32encode
from datetime import datetime

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
