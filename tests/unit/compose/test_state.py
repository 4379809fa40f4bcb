"""The state directory and the settings: what is ours, and what is refused before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from kilonova.cloud.network.address import check_usable, parse_prefix
from kilonova.core.errors import Invalid
from kilonova.kit.config import load
from kilonova.settings import Settings
from kilonova.state import StateDir


def test_removing_leaves_what_is_not_ours(tmp_path: Path) -> None:
    state = StateDir(tmp_path / "a b")
    state.prepare()
    state.database_url()
    state.write_credentials("http://127.0.0.1:1", "RegionOne")
    state.host_id(0)
    thesis = state.root / "thesis.txt"
    thesis.write_text("precious")
    assert state.remove() == ["thesis.txt"]
    assert [p.name for p in state.root.iterdir()] == ["thesis.txt"]
    thesis.unlink()
    assert state.remove() == []
    assert not state.root.exists()


@pytest.mark.parametrize(
    "line", ["port = 99999", "fake_hosts = -1", "token_minutes = 0", "cpu_ratio = -1.0", "nonsense = 1", "port = 'x'"]
)
def test_settings_that_make_no_sense_are_refused_by_name(tmp_path: Path, line: str) -> None:
    file = tmp_path / "kilonova.toml"
    file.write_text(line)
    with pytest.raises(Invalid, match=line.split(" ")[0]):
        load(Settings, file, {}, "KILONOVA", {})


def test_the_environment_wins_over_the_file_and_the_command_line_over_both(tmp_path: Path) -> None:
    file = tmp_path / "kilonova.toml"
    file.write_text("port = 1\nregion = 'A'\nzone = 'z'")
    settings = load(Settings, file, {"KILONOVA_PORT": "2", "KILONOVA_REGION": "B"}, "KILONOVA", {"port": 3})
    assert (settings.port, settings.region, settings.zone) == (3, "B", "z")


@pytest.mark.parametrize("cidr", ["127.0.0.0/24", "224.0.0.0/24", "255.255.255.0/24", "240.0.0.0/8", "ff00::/64"])
def test_subnets_that_no_host_can_be_in_are_refused(cidr: str) -> None:
    with pytest.raises(Invalid):
        check_usable(parse_prefix(cidr))
