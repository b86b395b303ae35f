from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.errors import refused
from support.networks import small_network

from mapping.artifact.atomic import atomic_directory, atomic_file
from mapping.artifact.write import write_artifact
from mapping.errors import ArtifactError
from mapping.pipeline import CompileOptions, compile_network
from mapping.targets.load import load_target

MARKER = "manifest.json"


def write(path: Path, text: str = "new") -> None:
    """Write a directory that holds only its marker."""
    with atomic_directory(path, marker=MARKER) as work:
        (work / MARKER).write_text(text)


@contextmanager
def disk_full(after: int) -> Iterator[None]:
    """No file may grow beyond ``after`` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (after, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_directory_appears_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "out"
    with atomic_directory(path, marker=MARKER) as work:
        (work / MARKER).write_text("new")
        assert not path.exists()
        assert work.parent == path.parent
    assert (path / MARKER).read_text() == "new"
    assert [p.name for p in path.parent.iterdir()] == ["out"]
    assert path.stat().st_mode & 0o777 == 0o755


def test_a_directory_of_ours_is_replaced(tmp_path: Path) -> None:
    write(tmp_path / "out", "old")
    (tmp_path / "out" / "more").mkdir()
    write(tmp_path / "out", "new")
    assert [p.name for p in (tmp_path / "out").iterdir()] == [MARKER]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_an_exception_leaves_the_old_directory_and_no_other(tmp_path: Path) -> None:
    def interrupted() -> None:
        with atomic_directory(tmp_path / "out", marker=MARKER) as work:
            (work / MARKER).write_text("half")
            raise KeyboardInterrupt

    write(tmp_path / "out", "old")
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (tmp_path / "out" / MARKER).read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_foreign_directory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "thesis"
    path.mkdir()
    (path / "chapter.tex").write_text("years of work")
    with refused(ArtifactError, "ADL-ART-01", where=str(path), message=MARKER, remedy="another"):
        write(path)
    assert (path / "chapter.tex").read_text() == "years of work"
    assert [p.name for p in tmp_path.iterdir()] == ["thesis"]


def test_a_directory_whose_marker_is_a_directory_is_foreign(tmp_path: Path) -> None:
    (tmp_path / "out" / MARKER).mkdir(parents=True)
    with refused(ArtifactError, "ADL-ART-01", where="out"):
        write(tmp_path / "out")


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text("mine")
    with refused(ArtifactError, "ADL-ART-01", where=str(path)):
        write(path)
    assert path.read_text() == "mine"


def test_a_file_as_parent_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with refused(ArtifactError, "ADL-ART-01", where="out", message="cannot be written"):
        write(tmp_path / "file" / "out")


def test_a_dangling_link_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.symlink_to(tmp_path / "nowhere")
    with refused(ArtifactError, "ADL-ART-01", where=str(path)):
        write(path)
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_the_working_directory_cannot_be_replaced_and_stays_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor can a mounted volume: renaming it fails, and nothing may be left beside or in it."""
    monkeypatch.chdir(tmp_path)
    with refused(ArtifactError, "ADL-ART-01", where="."):
        write(Path())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("length", [250, 256, 5000])
def test_a_name_that_is_too_long_is_refused(tmp_path: Path, length: int) -> None:
    with refused(ArtifactError, "ADL-ART-01", message="too long"):
        write(tmp_path / ("x" * length))
    assert list(tmp_path.iterdir()) == []


def test_the_kernels_own_folders_are_refused() -> None:
    with refused(ArtifactError, "ADL-ART-01", where="/proc/adlrns/out", remedy="may write"):
        write(Path("/proc/adlrns/out"))


def test_a_full_disk_is_an_error_of_ours_and_leaves_nothing(tmp_path: Path) -> None:
    result = compile_network(small_network(), load_target("loihi2"), CompileOptions())
    with refused(ArtifactError, "ADL-ART-01", where="out"), disk_full(after=300):
        write_artifact(result.artifact, result.report, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_old_directory(tmp_path: Path) -> None:
    write(tmp_path / "out", "old")
    with pytest.raises((OSError, ArtifactError)), disk_full(after=300):
        write(tmp_path / "out", 1000 * "new")
    assert (tmp_path / "out" / MARKER).read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_file_appears_whole_and_replaces_the_old(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "trace.npz"
    for text in ("old", "new"):
        with atomic_file(path) as work:
            assert work.suffix == ".npz"
            work.write_text(text)
        assert path.read_text() == text
    assert [p.name for p in path.parent.iterdir()] == ["trace.npz"]
    assert path.stat().st_mode & 0o777 == 0o644


def test_an_exception_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "trace.npz"

    def interrupted() -> None:
        with atomic_file(path) as work:
            work.write_text("half")
            raise KeyboardInterrupt

    path.write_text("old")
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["trace.npz"]


def test_a_directory_in_the_way_of_a_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "trace.npz"
    path.mkdir()
    with refused(ArtifactError, "ADL-ART-01", where=str(path)), atomic_file(path) as work:
        work.write_text("new")
    assert [p.name for p in tmp_path.iterdir()] == ["trace.npz"]


def test_a_file_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with (
        refused(ArtifactError, "ADL-ART-01", where="trace.npz"),
        atomic_file(tmp_path / "file" / "trace.npz"),
    ):
        pass
