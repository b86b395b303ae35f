from __future__ import annotations

from pathlib import Path

from simulators.chip.kernel import _forget_other_sources


def test_cached_kernels_of_other_sources_are_forgotten(tmp_path: Path) -> None:
    """Numba would load them: it looks at the file of a kernel, not at those that it inlines."""
    old, foreign = tmp_path / "step.run_samples-1.py311.1.nbc", tmp_path / "mine.f-1.py311.nbi"
    old.touch()
    foreign.touch()
    _forget_other_sources(tmp_path)
    assert not old.exists()
    assert foreign.exists()
    old.touch()
    _forget_other_sources.cache_clear()
    _forget_other_sources(tmp_path)
    assert old.exists(), "the sources are the same"
    (stamp,) = tmp_path.glob("*.sha256")
    stamp.write_text("other sources")
    _forget_other_sources.cache_clear()
    _forget_other_sources(tmp_path)
    assert not old.exists()
