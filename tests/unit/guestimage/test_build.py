"""Building without a machine to boot on: what goes wrong is said, and nothing is left behind."""

import json
import os
import subprocess
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilonova.guestimage import initramfs, module
from kilonova.guestimage.build import build
from kilonova.guestimage.package import Archive, parse_uris
from kilonova.guestimage.program import GuestImageError, check_host, run


def test_missing_programs_are_named_with_their_packages() -> None:
    with pytest.raises(GuestImageError, match=r"apt-get install aaa zzz$"):
        check_host({"no-such-b": "zzz", "/no/such/file": "aaa", "no-such-a": "zzz", "sh": "dash"})


def test_a_failing_program_is_quoted() -> None:
    with pytest.raises(GuestImageError, match="sh failed with status 3: too bad"):
        run(["sh", "-c", "echo too bad >&2; exit 3"])


def test_a_failed_build_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "apt.conf").write_text(f'Dir::State::lists "{tmp_path}/no"; Dir::Cache "{tmp_path}/cache";')
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "apt.conf"))
    output = tmp_path / "out" / "guest.qcow2"
    output.parent.mkdir()
    output.write_text("the old one")
    with pytest.raises(GuestImageError, match="run apt-get update"):
        build(output, tmp_path / "work", lambda text, fraction: None)
    assert output.read_text() == "the old one"
    assert os.listdir(output.parent) == [output.name]


def test_parse_uris() -> None:
    text = (
        "'http://x/pool/b_1%3a2_amd64.deb' b_1%3a2_amd64.deb 12 SHA256:ab\nnoise\n'http://x/a.deb' a.deb 3 MD5Sum:c\n"
    )
    assert parse_uris(text) == [Archive("a.deb", 3), Archive("b_1%3a2_amd64.deb", 12)]


def test_modules_come_with_their_dependencies(tmp_path: Path) -> None:
    for name, depends in {"a": "b-x,c", "b_x": "c", "c": "", "d": ""}.items():
        (tmp_path / f"{name}.ko").write_bytes(b"\x7fELF\0license=GPL\0depends=" + depends.encode() + b"\0")
    known = {path.stem: path for path in tmp_path.glob("*.ko")}
    assert module.close(["a"], known) == ["a", "b_x", "c"]
    with pytest.raises(GuestImageError, match="no module e"):
        module.close(["e"], known)


def test_initial_file_system_is_what_cpio_reads(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "bin").mkdir(parents=True)
    (tree / "bin" / "tool").write_bytes(b"12345")
    (tree / "bin" / "tool").chmod(0o755)
    (tree / "link").symlink_to("bin/tool")
    archive = initramfs.pack(tree)
    assert len(archive) % 512 == 0
    os.utime(tree / "bin" / "tool", (1, 1))
    assert initramfs.pack(tree) == archive
    entries = {}
    place = 0
    while archive[place : place + 6] == b"070701":
        fields = [int(archive[place + 6 + 8 * n : place + 14 + 8 * n], 16) for n in range(13)]
        start = place + 110
        name = archive[start : start + fields[11] - 1].decode()
        data = start + fields[11] + -(start + fields[11]) % 4
        entries[name] = (fields[1], archive[data : data + fields[6]])
        place = data + fields[6] + -(data + fields[6]) % 4
    assert entries["bin/tool"] == (0o100755, b"12345")
    assert entries["link"] == (0o120777, b"bin/tool")
    assert "TRAILER!!!" in entries


@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["C"]), min_size=1).filter(str.isalnum),
        st.text(st.characters(min_codepoint=32, exclude_categories=["Cs", "Cc"])),
    )
)
def test_guest_reads_any_text_from_json(tmp_path_factory: pytest.TempPathFactory, document: dict[str, str]) -> None:
    path = tmp_path_factory.mktemp("json") / "meta_data.json"
    path.write_text(json.dumps({"keys": document, "n": [1, {"x": None}]}, indent=1))
    script = files("kilonova.guestimage").joinpath("files/root/usr/lib/kilonova/json").read_text()
    line = ["sh", "-c", f'{script}\nflatten_json "$1"', "sh", str(path)]
    answer = subprocess.run(line, capture_output=True, check=True, env={**os.environ, "LC_ALL": "C"}).stdout.decode()
    expected = [f"keys.{key}\t{value}" for key, value in document.items()] + ["n.0\t1", "n.1.x\tnull", ""]
    assert answer.split("\n") == expected
