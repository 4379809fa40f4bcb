"""What a run of a suite came to, as a page of docs/evidence that people read and `make check` compares."""

from __future__ import annotations

import json
import re
import subprocess
import textwrap
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parents[2] / "docs" / "evidence"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One test. `status`: success, fail or skip; `why`: the reason of a skip, the last line of a failure."""

    test: str
    status: str
    why: str = ""


def write(suite: str, about: str, outcomes: list[Outcome]) -> None:
    """`SUITE.md` for people, `SUITE.counts.json` with the counts."""
    counts = Counter(one.status for one in outcomes)
    facts = {
        "suite": suite,
        "commit": _git("rev-parse", "--short", "HEAD"),
        "date": datetime.now(UTC).date().isoformat(),
        "passed": counts["success"],
        "failed": counts["fail"],
        "skipped": counts["skip"],
    }
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / f"{suite}.counts.json").write_text(json.dumps(facts, indent=1) + "\n")
    (FOLDER / f"{suite}.md").write_text(_page(suite, about, facts, outcomes))


def _page(suite: str, about: str, facts: dict[str, object], outcomes: list[Outcome]) -> str:
    lines = [
        f"# {suite}",
        "",
        about,
        "",
        f"Commit {facts['commit']}, {facts['date']}: **{facts['passed']} passed, {facts['failed']} failed, "
        f"{facts['skipped']} skipped**. Run again with `make conformance`.",
        "",
    ]
    failed = [one for one in outcomes if one.status == "fail"]
    if failed:
        lines += ["## Failed", "", *(line for one in failed for line in _item(f"{_short(one.test)}: {one.why}")), ""]
    reasons = Counter(one.why for one in outcomes if one.status == "skip")
    if reasons:
        lines += ["## Skipped, by the suite's own reason", ""]
        lines += [line for why, count in sorted(reasons.items()) for line in _item(f"{count} × {why}")]
        lines += [""]
    return "\n".join(lines)


def _short(test: str) -> str:
    """A test's name without its tags."""
    return re.sub(r"\[[^\]]*\]", "", test)


def _item(text: str) -> list[str]:
    """A list item in lines that are not too long."""
    return textwrap.wrap(text, 120, initial_indent="- ", subsequent_indent="  ")


def dropped() -> list[str]:
    """Suites of which fewer tests pass, or more fail, than in the last commit."""
    found = []
    for file in sorted(FOLDER.glob("*.counts.json")):
        name = f"docs/evidence/{file.name}"
        before = subprocess.run(["git", "show", f"HEAD:{name}"], capture_output=True, text=True, check=False)
        if before.returncode != 0:
            continue
        old, new = json.loads(before.stdout), json.loads(file.read_text())
        if new["passed"] < old["passed"] or new["failed"] > old["failed"]:
            found.append(f"{name}: {old['passed']} passed and {old['failed']} failed before, now {new['passed']} and "
                         f"{new['failed']}")  # fmt: skip
    return found


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()
