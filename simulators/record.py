"""JSON files that one command writes and another reads: strict records, whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mapping.artifact.atomic import atomic_file
from mapping.errors import ArtifactError

NonNegative = Annotated[float, Field(ge=0)]


class Record(BaseModel):
    """Entries that are what they are declared to be, no more and no fewer."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class RecordFile(Record):
    """A record that is a file.

    Attributes:
        what: what messages call it; schema_name: of its schema; code: of the error that a file is
            none.
    """

    what: ClassVar[str]
    schema_name: ClassVar[str]
    code: ClassVar[str]

    def save(self, path: Path | str) -> None:
        """Write it as JSON, whole or not at all.

        Raises:
            ArtifactError: ADL-ART-01, the file cannot be written.
        """
        with atomic_file(Path(path)) as work:
            work.write_text(self.model_dump_json(by_alias=True, indent=1) + "\n", "utf-8")

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read a file.

        Raises:
            ArtifactError: with :attr:`code`; the file is missing, not JSON or of another schema.
        """
        try:
            return cls.model_validate_json(Path(path).read_bytes())
        except OSError as error:
            raise cls._unreadable(path, f"cannot be read ({error.strerror})") from error
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"]) or "the document"
            trouble = f"trouble with {place}: {first['msg']}"
            raise cls._unreadable(
                path, f"is not a {cls.what} of schema {cls.schema_name} ({trouble})"
            ) from error

    @classmethod
    def _unreadable(cls, path: Path | str, message: str) -> ArtifactError:
        return ArtifactError(
            message,
            where=str(path),
            remedy=f"give a JSON file of schema {cls.schema_name}",
            code=cls.code,
        )
