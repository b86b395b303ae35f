from __future__ import annotations

import numpy as np

from mapping.semantics.answer import highest_voltage, most_spikes


def test_most_spikes_win_and_ties_go_to_the_lowest_index() -> None:
    spikes = np.array([[[0, 1, 0], [0, 0, 1]], [[0, 7, 1], [0, 0, 1]], [[0, 0, 0], [0, 0, 0]]])
    assert most_spikes(spikes).tolist() == [1, 2, 0]


def test_the_highest_summed_voltage_wins() -> None:
    voltages = np.array([[[1.0, -2.0], [1.0, 3.5]], [[0.0, 2.0], [0.0, -1.5]]])
    assert highest_voltage(voltages).tolist() == [0, 1]
