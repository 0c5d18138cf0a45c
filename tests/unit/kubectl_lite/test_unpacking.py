"""What a container sends as an archive may be anything: it stays inside the folder that was named for it."""

import io
import tarfile
from pathlib import Path

import pytest

from kubectl_lite.errors import Failed
from kubectl_lite.unpacking import unpack


def archive(*members: tuple[str, bytes | str | None], mode: int = 0o640) -> io.BytesIO:
    """Names with content; None is a folder, a text where a symbolic link leads."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as made:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.mode = mode
            if content is None:
                member.type, member.mode = tarfile.DIRTYPE, 0o750
            elif isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
            else:
                member.size = len(content)
            made.addfile(member, io.BytesIO(content) if isinstance(content, bytes) else None)
    packed.seek(0)
    return packed


def test_a_file_becomes_the_one_named_or_goes_into_the_folder(tmp_path: Path) -> None:
    assert unpack(archive(("./there", b"x")), "there", tmp_path / "here") == []
    assert (tmp_path / "here").read_bytes() == b"x"
    assert (tmp_path / "here").stat().st_mode & 0o7777 == 0o640
    unpack(archive(("./there", b"y")), "there", tmp_path)
    assert (tmp_path / "there").read_bytes() == b"y"


def test_a_folder_comes_with_all_below_it(tmp_path: Path) -> None:
    packed = archive(("./d", None), ("./d/a", b"1"), ("./d/e/f", b"2"), ("./d/link", "/etc/passwd"))
    assert unpack(packed, "d", tmp_path / "out") == ["./d/link"]
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()) == ["out/a", "out/e/f"]


def test_no_bit_makes_a_program_run_as_somebody_else(tmp_path: Path) -> None:
    unpack(archive(("p", b"x"), mode=0o4755), "p", tmp_path / "p")
    assert (tmp_path / "p").stat().st_mode & 0o7777 == 0o755


@pytest.mark.parametrize("name", ["./d/../../out", "./d/a/../../../x"])
def test_a_name_that_leaves_the_destination_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(Failed, match="would leave"):
        unpack(archive(("./d", None), (name, b"x")), "d", tmp_path / "in")
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_a_link_that_is_here_already_leads_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "l").symlink_to(tmp_path)
    with pytest.raises(Failed, match="would leave"):
        unpack(archive(("./d", None), ("./d/l/x", b"x")), "d", tmp_path / "in")
    assert not (tmp_path / "x").exists()


def test_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="nothing came out"):
        unpack(archive(), "d", tmp_path)
