from __future__ import annotations

from mapping.ir.timing import lateness


def test_what_is_behind_a_longer_way_runs_later() -> None:
    edges = [("a", "b", 1), ("b", "c", 0), ("a", "d", 0)]
    assert lateness(["a", "b", "c", "d"], edges) == {"a": 0, "b": 1, "c": 1, "d": 0}


def test_the_longest_way_decides() -> None:
    edges = [("a", "b", 1), ("b", "c", 1), ("a", "c", 0)]
    assert lateness(["a", "b", "c"], edges) == {"a": 0, "b": 1, "c": 2}


def test_a_loop_runs_late_as_a_whole() -> None:
    edges = [("a", "b", 1), ("b", "c", 0), ("c", "b", 0), ("c", "d", 0)]
    assert lateness(["a", "b", "c", "d"], edges) == {"a": 0, "b": 1, "c": 1, "d": 1}


def test_a_longer_way_within_a_loop_has_no_answer() -> None:
    assert lateness(["a", "b"], [("a", "b", 0), ("b", "a", 1)]) is None
    assert lateness(["a"], [("a", "a", 1)]) is None


def test_parallel_ways_count_each() -> None:
    assert lateness(["a", "b"], [("a", "b", 0), ("a", "b", 1)]) == {"a": 0, "b": 1}
