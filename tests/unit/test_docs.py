"""The written side: links lead somewhere, settings and commands are described, the coverage is that of the routes."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import msgspec
import pytest

import action_table
import coverage_table
from kilonova.cli import COMMANDS
from kilonova.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
LINE = 160
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def documents() -> list[Path]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    return [ROOT / name for name in listed if (ROOT / name).exists()]


def anchors(path: Path) -> set[str]:
    """The names that headings get: lower case, spaces as hyphens, most punctuation gone."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", path.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


def broken_links(path: Path) -> list[str]:
    broken = []
    for target in LINK.findall(FENCE.sub("", path.read_text())):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        name, _, anchor = target.partition("#")
        file = (path.parent / name) if name else path
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    return broken


@pytest.mark.parametrize("path", documents(), ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere_and_lines_are_short(path: Path) -> None:
    assert broken_links(path) == []
    assert [n for n, line in enumerate(path.read_text().splitlines(), 1) if len(line) > LINE] == []


def test_a_broken_link_is_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One thing\n[a](#one-thing) [b](#other) [c](absent.md) [d](page.md#one-thing)\n")
    assert broken_links(page) == ["#other", "absent.md"]


def test_every_setting_is_described_with_its_default() -> None:
    guide = (ROOT / "docs" / "operator-guide.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| `([^`]*)` \|", guide, re.MULTILINE))
    defaults = {f.name: f.default for f in msgspec.structs.fields(Settings)}
    assert {n: str(v) if v != "" else '""' for n, v in defaults.items()} == rows


def test_every_command_is_described() -> None:
    guide = (ROOT / "docs" / "user-guide.md").read_text() + (ROOT / "docs" / "operator-guide.md").read_text()
    assert [name for name in COMMANDS if not re.search(rf"`kilonova {name}\b", guide)] == []


async def test_coverage_is_that_of_the_routes() -> None:
    services = await coverage_table.serve()
    assert coverage_table.FILE.read_text() == coverage_table.render(services), "run: python tests/coverage_table.py"


def test_every_decision_record_is_listed_and_has_its_parts() -> None:
    folder = ROOT / "docs" / "adr"
    index = (folder / "README.md").read_text()
    records = sorted(folder.glob("[0-9]*.md"))
    assert [int(r.name[:4]) for r in records] == list(range(1, len(records) + 1))
    for record in records:
        text = record.read_text()
        assert f"]({record.name})" in index, record.name
        assert text.startswith(f"# {record.name[:4]}. "), record.name
        assert re.findall(r"^## (.*)$", text, re.MULTILINE) == ["Context", "Decision", "Consequences"], record.name


def test_the_table_of_actions_says_what_the_evidence_says() -> None:
    assert action_table.FILE.read_text() == action_table.render(), "run: python tests/action_table.py"
