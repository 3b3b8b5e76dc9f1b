"""What every artifact in JSON has in common: it is frozen, validated when it is read, and sealed when it is written."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, PlainSerializer, ValidationError

from pipelines.artifacts.seal import DIGESTS, is_sealed, read_sealed, sealed, unaltered, write_sealed
from pipelines.errors import CorruptData, MissingData
from pipelines.json_text import JsonObject

if TYPE_CHECKING:
    from pipelines.store import Store

Number = int | float  # as it was written: 1 stays 1, and 1.0 stays 1.0
Digests = dict[str, str]  # file or frame -> sha256
Instant = Annotated[datetime, PlainSerializer(datetime.isoformat, when_used="json")]


class Frozen(BaseModel):
    """A value within an artifact. Keys that are not declared are of another version of the code, and left alone."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())

    def as_json(self) -> JsonObject:
        """As it is written, without defaults for what it does not say."""
        return self.model_dump(mode="json", exclude_unset=True)


class Document(Frozen):
    """One JSON file of an artifact's folder.

    Attributes:
        FILE: its name.
        REMEDY: what makes it anew, as a person is told.
        UNSEALED: whether versions of this code before there were seals wrote it, so that one without a digest of its
            own is read as it is.
    """

    FILE: ClassVar[str]
    REMEDY: ClassVar[str]
    UNSEALED: ClassVar[bool] = False

    sha256: Digests

    @classmethod
    def place(cls, folder: str) -> str:
        return f"{folder.rstrip('/')}/{cls.FILE}"

    @classmethod
    def read(cls, store: Store, folder: str) -> Self:
        """The document of a folder.

        Raises:
            MissingData: if it is not there.
            CorruptData: if it was altered, or is no such document.
        """
        uri = cls.place(folder)
        if not cls.UNSEALED:
            return cls.of(read_sealed(store, uri, cls.REMEDY), uri)
        value = store.read_json(uri)
        return cls.of(unaltered(value, uri, cls.REMEDY) if is_sealed(value, cls.FILE) else value, uri)

    @classmethod
    def of(cls, value: Any, uri: str) -> Self:
        """The document of a JSON value; `uri` is where it comes from, for the error."""
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            raise CorruptData(f"{uri} {_complaint(error)}; {cls.REMEDY}") from None

    def write(self, store: Store, folder: str) -> None:
        write_sealed(store, self.place(folder), self.as_json())

    def lies_in(self, store: Store, folder: str) -> bool:
        """Whether a folder holds this very document; False where it is missing, altered or of another form."""
        digest: str = self.sealed()[DIGESTS][self.FILE]
        try:
            return self.read(store, folder).sha256.get(self.FILE) == digest
        except (MissingData, CorruptData):
            return False

    def sealed(self) -> JsonObject:
        """As `as_json`, with its own digest."""
        return sealed(self.as_json(), self.FILE)

    @property
    def files(self) -> Digests:
        """sha256 of what it names besides itself."""
        return {name: digest for name, digest in self.sha256.items() if name != self.FILE}


def _complaint(error: ValidationError) -> str:
    """What is wrong with a document: all that it lacks, else the first value that is of another kind."""
    problems = error.errors(include_url=False)
    lacking = sorted({_path(one["loc"]) for one in problems if one["type"] == "missing"})
    if lacking:
        return f"lacks {', '.join(lacking)}"
    first = problems[0]
    at = _path(first["loc"])
    return f"has {first['input']!r:.60} {f'as {at} ' if at else ''}({first['msg']})"


def _path(location: tuple[int | str, ...]) -> str:
    return ".".join(map(str, location))
