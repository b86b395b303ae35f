from __future__ import annotations

import pytest
from bench_chip import bench


@pytest.mark.lava
def test_every_peer_gives_our_spikes_before_it_is_timed() -> None:
    rows = bench(quick=True)
    assert [row["metric"] for row in rows] == ["speed", "speed"]
    for row in rows:
        assert row["peers"].keys() == {"scipy", "oracle", "lava", "lava, fused"}
        assert row["ours"] > 0
