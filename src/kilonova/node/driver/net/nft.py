"""nftables by its own command: a transaction either happens whole or not at all."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from typing import Any, Final, Literal

from kilonova.node.driver.failure import DriverError

ABSENT: Final = "No such file or directory"
DEADLINE: Final = 20.0
"""Seconds that a transaction may take on a loaded machine."""


def apply(commands: Sequence[dict[str, Any]]) -> None:
    """Apply a transaction in the namespace of the calling thread. Blocks. Raises DriverError; then nothing changed."""
    _run(["-f", "-"], json.dumps({"nftables": list(commands)}))


def list_elements(family: str, table: str, kind: Literal["set", "map"], name: str) -> list[Any]:
    """The elements of a set or map, as nft lists them; empty when there is no such table. Blocks."""
    try:
        items = _parse(_run(["list", kind, family, table, name]))
    except DriverError as error:
        # Asking for the list of tables first would read all rules of the host.
        if ABSENT in error.detail:
            return []
        raise
    found = next(item[kind] for item in items if kind in item)
    return list(found.get("elem", []))


def list_tables(family: str) -> list[str]:
    """The names of a family's tables. Blocks."""
    return [str(item["table"]["name"]) for item in _parse(_run(["list", "tables", family])) if "table" in item]


def list_chains(table: str) -> list[tuple[str, str]]:
    """(family, name) of the chains in all tables of this name. Blocks."""
    chains = [item["chain"] for item in _parse(_run(["list", "chains"])) if "chain" in item]
    return [(str(chain["family"]), str(chain["name"])) for chain in chains if chain["table"] == table]


def list_families(table: str) -> list[str]:
    """The families that have a table of this name. Blocks."""
    tables = [item["table"] for item in _parse(_run(["list", "tables"])) if "table" in item]
    return [str(found["family"]) for found in tables if found["name"] == table]


def _parse(text: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = json.loads(text)["nftables"]
    return items


def _run(arguments: list[str], document: str = "") -> str:
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        done = subprocess.run(
            ["nft", "-j", *arguments],
            input=document,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
            env=environment,
        )
    except FileNotFoundError as error:
        raise DriverError("driver", "nftables is not installed: apt-get install nftables") from error
    except subprocess.TimeoutExpired as error:
        raise DriverError("driver", "nftables did not answer in time", retryable=True) from error
    if done.returncode != 0:
        raise DriverError("driver", "nftables refused a change", detail=done.stderr[:2000])
    return done.stdout
