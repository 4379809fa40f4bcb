"""nftables by its own command: a transaction either happens whole or not at all."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from typing import Any, Final

from kilonova.node.driver.failure import DriverError

DEADLINE: Final = 20.0
"""Seconds that a transaction may take on a loaded machine."""


def apply(commands: Sequence[dict[str, Any]]) -> None:
    """Apply a transaction in the namespace of the calling thread. Blocks. Raises DriverError; then nothing changed."""
    _run(["-f", "-"], json.dumps({"nftables": list(commands)}))


def list_table(family: str, table: str) -> list[dict[str, Any]]:
    """Everything in a table, as nft lists it; empty when there is no such table. Blocks."""
    return _parse(_run(["list", "table", family, table])) if table in list_tables(family) else []


def list_tables(family: str) -> list[str]:
    """The names of a family's tables. Blocks."""
    return [str(item["table"]["name"]) for item in _parse(_run(["list", "tables", family])) if "table" in item]


def _parse(text: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = json.loads(text)["nftables"]
    return items


def _run(arguments: list[str], document: str = "") -> str:
    try:
        done = subprocess.run(
            ["nft", "-j", *arguments], input=document, capture_output=True, text=True, timeout=DEADLINE, check=False
        )
    except FileNotFoundError as error:
        raise DriverError("driver", "nftables is not installed: apt-get install nftables") from error
    except subprocess.TimeoutExpired as error:
        raise DriverError("driver", "nftables did not answer in time", retryable=True) from error
    if done.returncode != 0:
        raise DriverError("driver", "nftables refused a change", detail=done.stderr[:2000])
    return done.stdout
