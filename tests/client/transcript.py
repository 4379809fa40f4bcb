"""Transcripts in the guides: run as they stand, and compared with what is printed there.

A block fenced as `console` holds commands after `$ ` and what they print. `…` stands for whatever is there, on a line
of its own for any number of lines; widths of tables do not count. `openstack` is the real client, `kilonova` our own
command, both on the test's cloud; `write FILE WORDS` makes a file; `NAME=$(COMMAND)` keeps what a command prints for
`$NAME`. Files (words with a suffix) lie in the test's
folder. `make guides` runs every guide on a cloud of its own and writes what is printed.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Final

from client_cloud import Cloud

BLOCK: Final = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
KEPT: Final = re.compile(r"([A-Z]+)=\$\((.*)\)", re.DOTALL)
FILE: Final = re.compile(r"[\w-]+\.(qcow2|raw|img|pem|pub|txt|sh|json)")
VARIABLE: Final = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|\b[0-9a-f]{32,}\b|gAAAA[\w=-]+"
    r"|127\.0\.0\.1:\d+|\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.\dZ+:]*|([0-9a-f]{2}:){5}[0-9a-f]{2}"
)


@dataclass(slots=True)
class Command:
    """One command and the lines that it prints."""

    words: str
    printed: list[str] = field(default_factory=list)


def read(block: str) -> list[Command]:
    """The commands of a block."""
    found: list[Command] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            found.append(Command(line[2:]))
        elif line.startswith("> "):
            found[-1].words += "\n" + line[2:]
        else:
            found[-1].printed.append(line)
    return found


def run(command: Command, cloud: Cloud) -> list[str]:
    """What a command prints, whether it succeeds or complains."""
    if (kept := KEPT.fullmatch(command.words)) is not None:
        cloud.named[kept[1]] = "\n".join(run(Command(kept[2]), cloud))
        return []
    program, *words = shlex.split(Template(command.words.replace("\\\n", " ")).safe_substitute(cloud.named))
    placed = [str(cloud.path / word) if FILE.fullmatch(word) else word for word in words]
    if program == "write":
        Path(placed[0]).write_text(" ".join(words[1:]) + "\n")
        return []
    line = shlex.join(placed)
    if program == "openstack":
        told = cloud.tell(line, code=None)
    elif program == "kilonova":
        told = cloud.own(placed[0], shlex.join(placed[1:]), code=None)
    else:
        raise AssertionError(f"a transcript cannot run {program}")
    return told.replace(f"{cloud.path}/", "").rstrip("\n").splitlines() if told.strip() else []


def matches(printed: list[str], told: list[str]) -> bool:
    """Whether what a guide shows is what was told, lines in any order: rows are sorted by ids, which are drawn."""
    pattern = "".join(r"(.*\n)*?" if line.strip() == "…" else _pattern(line) + r"\n" for line in printed)
    if re.fullmatch(pattern, "".join(_even(line) + "\n" for line in told)):
        return True
    left = [_even(line) for line in told]
    for line in printed:
        found = next((one for one in left if re.fullmatch(_pattern(line), one)), None)
        if found is None:
            return False
        left.remove(found)
    return not left


def _pattern(line: str) -> str:
    return ".*?".join(re.escape(part) for part in _even(line).split("…"))


def _even(line: str) -> str:
    return re.sub(r" +", " ", re.sub(r"-{2,}", "--", line)).strip()


def told_of(page: str) -> Iterator[Command]:
    """Every command of a page, in order."""
    for block in BLOCK.findall(page):
        yield from read(block)


def rewrite(page: str, cloud: Cloud) -> str:
    """The page with what its commands print now, where that differs."""

    def anew(found: re.Match[str]) -> str:
        lines: list[str] = []
        for command in read(found.group(1)):
            told = run(command, cloud)
            kept = command.printed and matches(command.printed, told)
            first, *rest = command.words.split("\n")
            lines += [f"$ {first}", *(f"> {line}" for line in rest)]
            lines += command.printed if kept else [VARIABLE.sub("…", line).rstrip() for line in told]
        return "```console\n" + "\n".join(lines) + "\n```"

    return BLOCK.sub(anew, page)


def main() -> None:
    for name in sys.argv[1:]:
        cloud = Cloud("--driver fake --fake-hosts 3")
        try:
            page = Path(name)
            page.write_text(rewrite(page.read_text(), cloud))
        finally:
            cloud.clean()


if __name__ == "__main__":
    main()
