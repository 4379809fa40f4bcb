"""The `query` hint: what is accepted when a server is asked for never fails when its host is chosen."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_choose_property import HOST

from kilonova.cloud.scheduler import query
from kilonova.cloud.scheduler.snapshot import Snapshot
from kilonova.core.errors import Invalid

VARIABLES = ["$free_ram_mb", "$free_disk_mb", "$total_usable_ram_mb", "$vcpus_free", "$hypervisor_hostname", "$host"]
WORDS = st.one_of(
    st.sampled_from([*VARIABLES, "$nonsense", "and", "or", "not", "in", "=", "<", ">", "<=", ">=", "h1"]),
    st.text(max_size=8), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.booleans(), st.none(),
)  # fmt: skip
TERMS = st.recursive(WORDS, lambda inner: st.lists(inner, max_size=4), max_leaves=12)
CONDITIONS = st.recursive(
    st.tuples(st.sampled_from(["=", "<", ">", "<=", ">=", "in"]), WORDS, WORDS).map(list),
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(["and", "or"]), inner, inner).map(list), inner.map(lambda one: ["not", one])
    ),
    max_leaves=8,
)


def hosts() -> Snapshot:
    return Snapshot(replace(HOST, id=f"i{n}", name=f"h{n}", memory_capacity=4096 * n) for n in range(1, 4))


@given(st.one_of(TERMS, CONDITIONS))
def test_what_is_accepted_never_fails(term: Any) -> None:
    text = json.dumps(term)
    try:
        query.check(text)
    except Invalid:
        return
    assert len(query.evaluate(text, hosts())) == 3


@pytest.mark.parametrize(
    "text",
    [
        "[" * 1000 + "]" * 1000, "[" * 100_000, '["=", "$free_ram_mb", 1' + "0" * 400 + "]",
        '[">", "$free_ram_mb", true]', '[[], "$free_ram_mb"]',
        '["not", ["=", "$host", "h1"], ["=", "$host", "h2"]]', '["=", "$host", "' + "x" * 2048 + '"]', "{}", "", "[",
        '["=", "$host"]', '["=", "$host", 1]', '["like", "$host", "h"]', '["and", "h1", "h2"]', '["=", "$a", "b"]',
        '["=", "$free_ram_mb", 1e400]', '["=", "$free_ram_mb", [1]]',
    ],
)  # fmt: skip
def test_what_is_no_condition_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="The scheduler hint 'query'"):
        query.check(text)


def test_conditions_choose_hosts() -> None:
    for term, left in (
        ([">=", "$free_ram_mb", 8192], [False, True, True]),
        (["and", [">", "$free_ram_mb", 4096], ["not", ["=", "$host", "h3"]]], [False, True, False]),
        (["in", "$hypervisor_hostname", "h1", "h3"], [True, False, True]),
        (["<", "$free_ram_mb", 12288, 9000.5], [True, True, False]),
    ):
        assert query.evaluate(json.dumps(term), hosts()).tolist() == left
