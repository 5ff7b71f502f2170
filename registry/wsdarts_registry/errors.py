"""All errors and warnings for users.

Each is one line, made of fields: what is wrong, the value found, what was expected, and a hint.
The command line prints it after ``error:`` and exits with 1.
"""

import time
from errno import EINVAL
from typing import Any, NoReturn, Self

from wsdarts_registry._text import sanitize_spaced

_LONGEST = 4000
_TELLING = 30.0  # seconds in which a process can say why all of several fail


class WsdartsError(Exception):
    """Base of all errors that wsdarts-hub raises on purpose.

    The message reads ``WHAT is FOUND; expected EXPECTED; HINT``, without the parts that are
    empty. Messages quote what was found, which anyone may have written; as text they are one line
    that can be read and cannot act, wherever it ends up: on a terminal, in a log, on a page.

    Attributes:
        what: What is wrong, or the name of what has a wrong value.
        found: The wrong value, as text; empty where ``what`` says all.
        expected: What would have been right.
        hint: What to do next, or what else helps.
    """

    def __init__(
        self, what: object = "", *, found: object = None, expected: object = "", hint: str = ""
    ) -> None:
        self.what = str(what)
        self.found = "" if found is None else str(found)
        self.expected = str(expected)
        self.hint = hint
        parts = (
            f"{self.what} is {self.found}" if self.found else self.what,
            f"expected {self.expected}" if self.expected else "",
            hint,
        )
        super().__init__("; ".join(filter(None, parts)))

    def __str__(self) -> str:
        return sanitize_spaced(BaseException.__str__(self), _LONGEST)


class SpaceError(WsdartsError):
    """A search space, operation mask or genotype is invalid."""


class TaskError(WsdartsError):
    """A dataset cannot be read as a classification task."""


class EmbeddingError(WsdartsError):
    """Task embeddings are malformed, or not comparable with each other."""


class NoCommonSpaceError(EmbeddingError):
    """No artifact of a registry has an embedding in the space of the query."""


class ProbeError(WsdartsError):
    """A probe network cannot be loaded or does not fit."""


class ArtifactError(WsdartsError):
    """An artifact is malformed, tampered with, or of an unknown format version."""


class UnreadableError(ArtifactError):
    """A file of an artifact may not be read by this user; the artifact need not be damaged."""


class SignatureError(WsdartsError):
    """A signature is missing, damaged, by another key or of another artifact, or a key is bad."""


class RegistryError(WsdartsError):
    """A registry cannot be read or written."""


class CacheError(RegistryError):
    """The cache of this machine cannot keep what was fetched of a registry."""


class RecordError(RegistryError):
    """A record beside a version is damaged: why it was yanked, or an alias."""


class ReferenceNotFoundError(RegistryError):
    """No artifact has that name, version or digest."""


class VersionConflictError(RegistryError):
    """A version exists with other content; versions are write-once."""


class OlderStateError(RegistryError):
    """A registry says less of a version than it did before: that it was yanked, who signed it."""


class SettingsError(WsdartsError):
    """Search or training settings contradict each other or do not fit the data."""


class RunError(WsdartsError):
    """A run directory is in use, incomplete, or belongs to other settings."""


class StorageError(WsdartsError):
    """A database that several workers share cannot be reached or used."""


class ExportError(WsdartsError):
    """A trained model cannot be written in another form, or would compute something else."""


class FileAccessError(WsdartsError, OSError):
    """A path of the user's may not be examined or read, or is no regular file.

    It has the ``errno``, ``strerror`` and ``filename`` of an OSError, so that a caller who can say
    more about the file than its path catches it as one.
    """

    @classmethod
    def of(cls, what: str, cause: OSError | ValueError, filename: str, *, hint: str) -> Self:
        """Return an error with the number of its cause; a ValueError is an impossible name."""
        error = cls(what, hint=hint)
        error.errno = cause.errno if isinstance(cause, OSError) else EINVAL
        error.strerror = (cause.strerror if isinstance(cause, OSError) else None) or str(cause)
        error.filename = filename
        return error

    def __reduce__(self) -> tuple[Any, ...]:
        # An OSError keeps these three beside its other attributes, and pickle would lose them.
        system = {name: getattr(self, name) for name in ("errno", "strerror", "filename")}
        return type(self), self.args, {**self.__dict__, **system}


class ArgumentError(WsdartsError, TypeError):
    """An argument is of another kind than the function takes."""


class LibraryError(WsdartsError):
    """A library cannot be imported, because another file is found by its name."""


class ReportedElsewhere(SystemExit):
    """The end of one of several processes, of which another reports why all fail."""


def end_after_another(error: BaseException | None = None) -> NoReturn:
    """End this process, once the one that reports the failure has had the time to.

    torchrun ends all others as soon as the first of them has ended, which may be before the one
    that reports the failure has written a word.

    Raises:
        ReportedElsewhere: Always, unless torchrun ends this process first.
    """
    time.sleep(_TELLING)
    raise ReportedElsewhere(1) from error


class WsdartsWarning(UserWarning):
    """Base of all warnings of wsdarts-hub; the command line prints each as one line."""


class RunWarning(WsdartsWarning):
    """A run is less protected than it could be."""


class RegistryWarning(WsdartsWarning):
    """A registry works less well than it could; the warning ends in a command that helps."""
