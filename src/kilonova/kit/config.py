"""Configuration: one TOML file, then the environment, then what the command line says."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from kilonova.core.errors import Invalid

S = TypeVar("S", bound=msgspec.Struct)


def load(kind: type[S], file: Path | None, environ: Mapping[str, str], prefix: str, given: Mapping[str, Any]) -> S:
    """Settings of `kind`, each from the last of: its default, the file, `PREFIX_NAME` in the environment, `given`.

    Raises Invalid for an unknown name or a value of the wrong type, saying which and where.
    """
    values: dict[str, Any] = {}
    if file is not None and file.exists():
        try:
            values.update(tomllib.loads(file.read_text()))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise Invalid(f"{file} is not valid TOML: {error}") from error
    names = {f.name for f in msgspec.structs.fields(kind)}
    unknown = sorted(values.keys() - names)
    if unknown:
        raise Invalid(f"{file} has unknown settings: {', '.join(unknown)}")
    values.update({n: environ[key] for n in names if (key := f"{prefix}_{n.upper()}") in environ})
    values.update({n: v for n, v in given.items() if v is not None})
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        raise Invalid(f"A setting is wrong: {error}") from error
