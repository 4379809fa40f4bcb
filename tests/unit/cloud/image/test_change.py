"""Updates of a record, step by step."""

from __future__ import annotations

import pytest

from kilonova.cloud.image.change import apply
from kilonova.cloud.image.model import MAX_PROPERTY_BYTES, Change, Image
from kilonova.core.errors import TooLarge


def test_what_was_too_large_before_the_bound_may_shrink_but_not_grow() -> None:
    old = Image("i", "ann", "old", properties={"a": "x" * MAX_PROPERTY_BYTES, "b": "y" * 99})
    assert apply(old, [Change("replace", "name", "new")], is_admin=False).name == "new"
    assert "b" not in apply(old, [Change("remove", "b", is_property=True)], is_admin=False).properties
    with pytest.raises(TooLarge):
        apply(old, [Change("replace", "b", "y" * 100, is_property=True)], is_admin=False)
