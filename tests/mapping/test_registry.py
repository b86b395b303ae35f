from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.errors import refused

from mapping.errors import ConfigError
from mapping.registry import Registry

Greeting = Callable[[], str]
GROUP = "adlrns_test.greetings"


@pytest.fixture
def greetings() -> Registry[Greeting]:
    """Two implementations of one kind."""
    registry: Registry[Greeting] = Registry("greeting", GROUP)

    @registry.register("hello")
    def hello() -> str:
        return "hello"

    @registry.register("good-day")
    def good_day() -> str:
        return "good day"

    return registry


@pytest.fixture
def outsider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed distribution that adds a greeting by an entry point."""
    (tmp_path / "adlrns_outsider.py").write_text("def salute():\n    return 'salute'\n")
    info = tmp_path / "adlrns_outsider-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: adlrns-outsider\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\nsalute = adlrns_outsider:salute\n")
    monkeypatch.syspath_prepend(str(tmp_path))


def test_what_was_registered_is_found(greetings: Registry[Greeting]) -> None:
    assert greetings.get("hello")() == "hello"
    assert greetings.names() == ("good-day", "hello")
    assert list(greetings) == ["good-day", "hello"]


def test_the_decorator_returns_what_it_decorates() -> None:
    registry: Registry[Greeting] = Registry("greeting", GROUP)

    def hello() -> str:
        return "hello"

    assert registry.register("hello")(hello) is hello
    assert registry.get("hello") is hello


def test_an_unknown_name_suggests_the_nearest(greetings: Registry[Greeting]) -> None:
    with refused(
        ConfigError,
        "ADL-CFG-01",
        where="greeting",
        message="unknown greeting 'good_day'",
        remedy="did you mean 'good-day'? choose one of: good-day, hello",
    ):
        greetings.get("good_day")


def test_a_name_like_no_other_lists_what_exists(greetings: Registry[Greeting]) -> None:
    with refused(ConfigError, "ADL-CFG-01", remedy="choose one of: good-day, hello") as caught:
        greetings.get("zzz")
    assert "did you mean" not in caught.value.remedy


def test_a_name_is_taken_once(greetings: Registry[Greeting]) -> None:
    with pytest.raises(AssertionError, match="hello registered twice"):
        greetings.register("hello")(lambda: "again")


@pytest.mark.usefixtures("outsider")
def test_outsiders_join_by_entry_points(greetings: Registry[Greeting]) -> None:
    assert greetings.names() == ("good-day", "hello", "salute")
    assert greetings.get("salute")() == "salute"
    assert greetings.get("salute") is greetings.get("salute")
    with refused(ConfigError, "ADL-CFG-01", remedy="did you mean 'salute'"):
        greetings.get("salut")


def test_registries_of_other_kinds_share_nothing(greetings: Registry[Greeting]) -> None:
    other: Registry[Greeting] = Registry("farewell", "adlrns_test.farewells")
    assert other.names() == ()
    with refused(ConfigError, "ADL-CFG-01", where="farewell"):
        other.get("hello")
