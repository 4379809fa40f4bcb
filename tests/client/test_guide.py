"""The guides of docs/guide show what really happens: each is run, command by command, on a cloud of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from client_cloud import Cloud
from transcript import Command, matches, run, told_of

pytestmark = pytest.mark.client
GUIDES = sorted((Path(__file__).parents[2] / "docs" / "guide").glob("*.md"))


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.stem)
def test_a_guide_shows_what_happens(guide: Path) -> None:
    cloud = Cloud("--driver fake --fake-hosts 3")
    try:
        for command in told_of(guide.read_text()):
            told = run(command, cloud)
            assert matches(command.printed, told), f"$ {command.words}\n" + "\n".join(told)
    finally:
        cloud.clean()


def test_what_is_not_so_is_noticed() -> None:
    shown = Command("x", ["+---+", "| a | … |", "…", "end"])
    assert matches(shown.printed, ["+-----+", "| a   | 17 |", "more", "more", "end"])
    assert not matches(shown.printed, ["+-----+", "| b   | 17 |", "end"])
    assert not matches(shown.printed, ["+-----+", "| a   | 17 |", "other end", "x"])
