"""Column types that mean the same on every dialect. Times are µs since the epoch in BigInteger columns."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Column, Dialect, MetaData, Text
from sqlalchemy.types import TypeDecorator

metadata = MetaData()
"""Every table of the process; stores add theirs at import, and nothing is added later."""

_encode = msgspec.json.Encoder(order="deterministic").encode
_decode = msgspec.json.Decoder().decode


class Json(TypeDecorator[Any]):
    """A JSON document in a text column."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else _encode(value).decode()

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        return None if value is None else _decode(value)


def json_column(name: str, *, nullable: bool = False) -> Column[Any]:
    """A column for a JSON document."""
    return Column(name, Json, nullable=nullable)
