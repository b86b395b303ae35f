"""Output that is either whole or absent: write beside the target, then rename."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mapping.errors import ArtifactError


@contextmanager
def atomic_directory(path: Path, *, marker: str) -> Iterator[Path]:
    """Yield an empty directory that becomes ``path`` if the block succeeds.

    An existing ``path`` is replaced only if it holds the file ``marker``, the sign that an earlier
    run of ours wrote it.

    Raises:
        ArtifactError: ADL-ART-01, ``path`` exists and is something else or cannot be written.
    """
    with _writable(path):
        if path.exists() and not (path / marker).is_file() and not _is_empty_folder(path):
            raise ArtifactError(
                f"exists and holds no {marker}, so it will not be replaced",
                where=str(path),
                remedy="choose another output path or remove it yourself",
                code="ADL-ART-01",
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
        try:
            yield work
            work.chmod(0o755)
            _replace_folder(path, work)
        finally:
            shutil.rmtree(work, ignore_errors=True)


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary file name, same suffix, that becomes ``path`` if the block succeeds.

    Raises:
        ArtifactError: ADL-ART-01, the parent folder cannot be written.
    """
    with _writable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent
        )
        os.close(handle)
        work = Path(name)
        try:
            yield work
            work.chmod(0o644)
            work.replace(path)
        finally:
            work.unlink(missing_ok=True)


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _replace_folder(path: Path, work: Path) -> None:
    """Put ``work`` in the place of ``path``; an old folder is set aside, then removed."""
    if not path.exists():
        work.rename(path)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{path.name}-old-", dir=path.parent))
    old = aside / "old"
    try:
        path.rename(old)
        work.rename(path)
    except OSError:
        if old.exists():
            old.rename(path)
        raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def _writable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ArtifactError(
            f"cannot be written ({error.strerror})",
            where=str(path),
            remedy="choose an output path in a folder that you may write to",
            code="ADL-ART-01",
        ) from error
