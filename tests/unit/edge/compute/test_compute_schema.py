"""Shared pieces of the Compute API's schemas, and which attributes a create takes at which microversion."""

from __future__ import annotations

from typing import Any

import pytest

from kilonova.core.errors import Invalid
from kilonova.edge.openstack.compute import schema as pieces
from kilonova.edge.openstack.compute.link import exact, moment, parse_moment
from kilonova.edge.openstack.compute.server import schema
from kilonova.kit.http.schema import Checker

CHECKER = Checker(pieces.FORMATS)
IMAGE = "c4c21afb-2abb-4fa9-b588-3e7433fe1535"
RANGES: list[tuple[str, Any, int, int]] = [
    ("description", "d", 19, 96), ("tags", ["a"], 52, 96), ("trusted_image_certificates", None, 63, 96),
    ("host", "h", 74, 96), ("hypervisor_hostname", "h", 74, 96), ("hostname", "ab", 90, 96),
    ("hostname", "a.b", 94, 96), ("personality", [], 1, 56), ("networks", [], 1, 96), ("networks", "auto", 37, 96),
    ("networks", [{"uuid": IMAGE, "tag": "t"}], 32, 96), ("networks", [{"uuid": "plain"}], 1, 36),
]  # fmt: skip


def accepts(minor: int, **more: Any) -> bool:
    body = {"name": "n", "imageRef": IMAGE, "flavorRef": "1", **({"networks": "none"} if minor >= 37 else {}), **more}
    try:
        CHECKER.check(schema.CREATE, {"server": body}, (2, minor))
    except Invalid:
        return False
    return True


@pytest.mark.parametrize(("name", "value", "first", "last"), RANGES)
def test_create_takes_an_attribute_where_the_api_has_it(name: str, value: Any, first: int, last: int) -> None:
    taken = [minor for minor in range(1, 97) if accepts(minor, **{name: value})]
    expected = list(range(first, last + 1))
    if isinstance(value, list) and value and "tag" in value[0]:
        expected = [minor for minor in expected if not 37 <= minor < 42]
    assert taken == expected


def test_networks_are_required_from_2_37() -> None:
    for minor, fine in ((36, True), (37, False)):
        body = {"server": {"name": "n", "flavorRef": "1"}}
        try:
            CHECKER.check(schema.CREATE, body, (2, minor))
            passed = True
        except Invalid:
            passed = False
        assert passed is fine


@pytest.mark.parametrize("name", ["", " x", "x ", "a\nb", "x" * 256, "\u200b", 5, None])
def test_names_that_are_none(name: Any) -> None:
    assert not accepts(1, name=name)


@pytest.mark.parametrize("name", ["x", "a b", "x" * 255, "ünïcödé ☃"])
def test_names_that_are_some(name: str) -> None:
    assert accepts(1, name=name)


@pytest.mark.parametrize(("data", "fine"), [("aGk=", True), ("aG\nk=", True), ("aGk", False), ("ü", False)])
def test_user_data_is_base64(data: str, fine: bool) -> None:
    assert accepts(1, user_data=data) is fine


def test_counts_are_numbers_or_say_so() -> None:
    assert all(accepts(1, min_count=good) for good in (1, "1", 1000))
    assert not any(accepts(1, min_count=bad) for bad in (0, -1, "x", "", 1.5, True, 2**31, "9" * 5000, None))


def test_booleans_are_words_too() -> None:
    assert pieces.is_true("on")
    assert pieces.is_true(True)
    assert not pieces.is_true("False")
    assert not accepts(1, config_drive="maybe")
    assert [pieces.read_boolean(text) for text in ("1", "no", "perhaps")] == [True, False, None]


def test_a_list_refuses_unknown_parameters_from_2_75() -> None:
    CHECKER.check(schema.LIST, {"zz": ["1"]}, (2, 74))
    with pytest.raises(Invalid):
        CHECKER.check(schema.LIST, {"zz": ["1"]}, (2, 75))
    with pytest.raises(Invalid):
        CHECKER.check(schema.LIST, {"sort_key": ["password"]}, (2, 1))


@pytest.mark.parametrize(
    "text", ["2023-11-14T22:13:20Z", "2023-11-14T22:13:20", "2023-11-14T23:13:20+01:00", "2023-11-14T23:13:20 01:00"]
)
def test_moments(text: str) -> None:
    assert parse_moment(text) == 1_700_000_000_000_000
    assert parse_moment("yesterday") is None
    assert (moment(1_700_000_000_000_001), exact(0)) == ("2023-11-14T22:13:20Z", None)
