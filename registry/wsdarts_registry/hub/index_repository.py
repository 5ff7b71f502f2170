"""Where the settings and the index of a registry on the Hub lie: dataset ``wsdarts-registry``."""

from dataclasses import dataclass

from huggingface_hub import CommitOperationAdd

from wsdarts_registry.errors import ArtifactError, RegistryError, WsdartsError
from wsdarts_registry.hub.answers import Head, Repository
from wsdarts_registry.hub.client import HubClient
from wsdarts_registry.hub.index import FILE, MAX_BYTES, Index
from wsdarts_registry.hub.patience import Patience, UnsettledError
from wsdarts_registry.records import MAX_RECORD_BYTES
from wsdarts_registry.registry_config import RegistryConfig

NAME = "wsdarts-registry"
CONFIG = "registry.json"
CARD = "README.md"


@dataclass(frozen=True, kw_only=True)
class FoundIndex:
    """The index that is there.

    Attributes:
        head: Newest commit of its repository; None where there is none.
        index: The index; None where there is none that can be used.
        problem: Why it cannot be used; empty where it can, or is missing.
    """

    head: Head | None
    index: Index | None
    problem: str = ""


class IndexRepository:
    """Settings and index of one namespace.

    Args:
        client: The Hub.
        namespace: Whose registry it is.
    """

    def __init__(self, client: HubClient, namespace: str) -> None:
        self._client = client
        self._namespace = namespace
        self._last: tuple[str, Index] | None = None  # commit and what was read there
        self.place = Repository(id=f"{namespace}/{NAME}", kind="dataset")

    def config(self, head: Head | None) -> RegistryConfig:
        """The settings at a commit; where there are none, those of a new registry.

        Raises:
            RegistryError: They are malformed, or the Hub cannot be asked.
        """
        if head is None or CONFIG not in head.files:
            return RegistryConfig(name=self._namespace)
        content = self._client.read(self.place, head.commit, CONFIG, MAX_RECORD_BYTES)
        what = f"{CONFIG} of {self.place.path}"
        return RegistryConfig.from_bytes(content, what=what, error=RegistryError)

    def configure(self, config: RegistryConfig) -> None:
        """Replace the settings.

        Raises:
            RegistryError: They cannot be written.
        """
        patience = Patience()
        while True:
            additions = [CommitOperationAdd(CONFIG, config.to_bytes())]
            try:
                self._client.commit(
                    self.place, self.made().commit, "Change the settings", additions
                )
            except UnsettledError as error:
                patience.after(error)
            else:
                return

    def head(self) -> Head | None:
        """The head of main; None where there is no such repository."""
        return self._client.head(self.place)

    def find(self) -> FoundIndex:
        """Read and verify the index.

        Raises:
            RegistryError: The Hub cannot be asked.
        """
        head = self.head()
        if head is None or FILE not in head.files:
            return FoundIndex(head=head, index=None)
        last = self._last
        if last is not None and last[0] == head.commit:
            return FoundIndex(head=head, index=last[1])
        try:
            content = self._client.read(self.place, head.commit, FILE, MAX_BYTES)
        except ArtifactError as error:
            return FoundIndex(head=head, index=None, problem=str(error))
        try:
            index = Index.from_bytes(content)
        except WsdartsError as error:
            return FoundIndex(head=head, index=None, problem=str(error))
        self._last = (head.commit, index)
        return FoundIndex(head=head, index=index)

    def made(self) -> Head:
        """The head of main; the repository is created where it is missing.

        Raises:
            RegistryError: It cannot be.
        """
        return self.head() or self._client.create(self.place)

    def write(self, index: Index, head: Head) -> None:
        """Replace the index that was read at a commit.

        Raises:
            UnsettledError: It was replaced since, or the answer was lost.
            RegistryError: It cannot be written.
        """
        additions = [CommitOperationAdd(FILE, index.to_bytes())]
        if CONFIG not in head.files:
            config = RegistryConfig(name=self._namespace)
            additions.append(CommitOperationAdd(CONFIG, config.to_bytes()))
        if CARD not in head.files:
            additions.append(CommitOperationAdd(CARD, _card(self._namespace).encode()))
        self._client.commit(self.place, head.commit, "Update the index", additions)


def _card(namespace: str) -> str:
    return (
        "---\ntags:\n- wsdarts-hub\nviewer: false\n---\n\n"
        f"# The index of hf://{namespace}\n\n"
        "What `wsdarts-hub` reads to rank the artifacts of this namespace. It is written by "
        f"`wsdarts-hub push`, and made anew by `wsdarts-hub index rebuild --registry "
        f"hf://{namespace}`.\n"
    )
