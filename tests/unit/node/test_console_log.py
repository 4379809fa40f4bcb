"""Reading a console across virtlogd's rotated files."""

from __future__ import annotations

from pathlib import Path

import pytest

from kilonova.node.driver.virt.console_log import read_tail, remove


@pytest.mark.parametrize(
    ("limit", "expected"), [(0, b""), (2, b"gh"), (3, b"fgh"), (5, b"defgh"), (8, b"abcdefgh"), (99, b"abcdefgh")]
)
def test_the_tail_goes_back_through_rotated_files(tmp_path: Path, limit: int, expected: bytes) -> None:
    for name, data in (("g.log", b"gh"), ("g.log.0", b"def"), ("g.log.1", b"abc"), ("h.log", b"other")):
        (tmp_path / name).write_bytes(data)
    assert read_tail(tmp_path / "g.log", limit) == expected


def test_the_newest_file_may_be_missing_while_it_is_rotated(tmp_path: Path) -> None:
    (tmp_path / "g.log.0").write_bytes(b"old")
    assert read_tail(tmp_path / "g.log", 10) == b"old"
    assert read_tail(tmp_path / "never.log", 10) == b""


def test_removing_takes_the_rotated_files_too(tmp_path: Path) -> None:
    for name in ("g.log", "g.log.0", "g.log.2", "gg.log"):
        (tmp_path / name).touch()
    for _ in range(2):
        remove(tmp_path / "g.log")
    assert [path.name for path in tmp_path.iterdir()] == ["gg.log"]
