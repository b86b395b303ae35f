"""Descriptions of hardware in TOML: built-in ones by name, a user's own from a file."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from mapping.errors import TargetError

T = TypeVar("T")
SUFFIX = ".toml"
_LONGEST_LINE = 2**12
"""In characters: the time that tomllib takes for a dotted key grows as the square of its length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptions:
    """The descriptions of one kind of hardware.

    Attributes:
        package: where the built-in ones lie.
        kind: what is described, singular, as errors call it.
        listing: how a user lists the built-in ones, as an imperative phrase.
        example: where a user sees a complete one, as a sentence.
        unknown, broken, invalid: codes of the errors that there is none, that it is not TOML, and
            that an entry is missing or wrong.
    """

    package: str
    kind: str
    listing: str
    example: str
    unknown: str
    broken: str
    invalid: str

    def names(self) -> tuple[str, ...]:
        """Names of the built-in ones, sorted."""
        files = resources.files(self.package).iterdir()
        found = (f.name.removesuffix(SUFFIX) for f in files if f.name.endswith(SUFFIX))
        return tuple(sorted(found))

    def read(self, name_or_file: str, *, where: str) -> dict[str, object]:
        """The entries of the one called ``name_or_file``, or in that file.

        Raises:
            TargetError: naming ``where``; there is no such description, or it is not TOML.
        """
        try:
            content = self._text(name_or_file, where=where)
            if max(map(len, content.split("\n"))) > _LONGEST_LINE:
                raise ValueError(f"a line of more than {_LONGEST_LINE} characters")
            return tomllib.loads(content)
        except (ValueError, RecursionError) as error:
            raise TargetError(
                f"is not TOML ({error})",
                where=where,
                remedy=f"mend the file; {self.example}",
                code=self.broken,
            ) from error

    def parse(self, adapter: TypeAdapter[T], data: object, *, where: str) -> T:
        """The entries ``data`` as what ``adapter`` makes of them.

        Raises:
            TargetError: an entry is missing, unknown or of the wrong type; the first one is named.
        """
        try:
            return adapter.validate_python(data, extra="forbid")
        except ValidationError as error:
            first = error.errors()[0]
            entry = ".".join(str(part) for part in first["loc"])
            raise TargetError(
                f"{entry}: {first['msg']} ({error.error_count()} problems in all)",
                where=where,
                remedy="give every entry a value, a status and a source; nothing has a default",
                code=self.invalid,
            ) from error

    def _text(self, name_or_file: str, *, where: str) -> str:
        names = self.names()
        if name_or_file in names:
            return (resources.files(self.package) / f"{name_or_file}{SUFFIX}").read_text("utf-8")
        path = Path(name_or_file)
        if path.suffix == SUFFIX and path.is_file():
            return path.read_text("utf-8")
        near = get_close_matches(name_or_file, names, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise TargetError(
            f"is neither a built-in {self.kind} ({', '.join(names)}) nor a TOML file",
            where=where,
            remedy=f"{hint}{self.listing} or give a path ending in .toml",
            code=self.unknown,
        )
