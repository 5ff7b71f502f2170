"""The interface of a registry, whether it is a directory or a namespace on the Hub.

The content of a version never changes. What is said of it after it was published (that it is
yanked, what aliases it has) stands beside it, by rules that are the same in every store.
"""

import copy
import warnings
from abc import abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pydantic import ValidationError

from wsdarts_registry._format import pluralize
from wsdarts_registry._json import explain, now
from wsdarts_registry.artifact.reference import Reference, check_alias
from wsdarts_registry.errors import (
    OlderStateError,
    RegistryError,
    RegistryWarning,
    VersionConflictError,
)
from wsdarts_registry.stores._listing_cache import Listing
from wsdarts_registry.stores._seen_states import (
    Row,
    SeenStates,
    compare,
    differences,
    digest_seen,
    older_records,
    row_of,
    signature_digest,
)
from wsdarts_registry.stores.catalogue import Catalogue, Snapshot, parsed
from wsdarts_registry.stores.records import (
    Alias,
    Entry,
    Lift,
    NearRecord,
    RegistryConfig,
    VersionInfo,
    Yank,
)
from wsdarts_registry.stores.signature_policy import Required, SignaturePolicy, required_policy

if TYPE_CHECKING:
    from wsdarts_registry.architecture.genotype import Genotype
    from wsdarts_registry.artifact.reader import Artifact
    from wsdarts_registry.artifact.writer import Edition
    from wsdarts_registry.embedding.embedding import TaskEmbedding
    from wsdarts_registry.embedding.ranking import Ranking

__all__ = ["Entry", "NearRecord", "RegistryConfig", "Store", "VersionInfo", "Yank"]


class Store(Catalogue):
    """A registry of artifacts.

    Versions are write-once; everything that is read is verified. A subclass says where names,
    versions, files and records lie; resolving, listing, ranking, yanks, aliases and required
    signatures are the same for all.
    """

    signature_policy: SignaturePolicy | None = None
    _states: SeenStates | None = None

    @property
    def state_key(self) -> str | None:
        """The key of the newest state that was seen; None where no state is kept."""
        return None

    def requiring(self, required: Required) -> Self:
        """Return the same registry, from which artifacts are read only if signed as required.

        Args:
            required: Files of public keys, one of which has to have signed; or a policy. None
                means the user's own policy.

        Raises:
            SignatureError: The list of keys is empty.
        """
        other = copy.copy(self)
        other.signature_policy = required_policy(required)
        return other

    def check_trusted(self, name: str, info: VersionInfo, artifact: "Artifact") -> None:
        """Refuse a verified artifact that is not as it was seen, or not signed as is required here.

        Args:
            name: Its name.
            info: Its version, as it is listed now.
            artifact: The artifact.

        Raises:
            VersionConflictError: The version had another digest when it was last seen.
            OlderStateError: It was yanked or had a signature when it was last seen, and has not;
                or its signature is another, and not one that is required.
            SignatureError: It is not signed so, or the user's policy cannot be read.
            RegistryError: Its signature cannot be read.
        """
        states = self._seen_states()
        if states is not None:
            self._check_seen(states, name, info, artifact)
        policy = (
            SignaturePolicy.of_user() if self.signature_policy is None else self.signature_policy
        )
        rule = policy.rule(self.location, name)
        if rule is not None and rule.accept != "unsigned":
            reference = Reference(name=name, version=info.version)
            signature = self.signature(name, info.version)
            policy.check(artifact, signature, reference, rule)
            if states is not None:  # who signed it is known, so it may be signed anew
                _keep_signature(states, name, info.version, signature)
        elif states is not None and info.status.signed:
            self._check_seen_signature(states, name, info.version)

    def _check_seen(
        self, states: SeenStates, name: str, info: VersionInfo, artifact: "Artifact"
    ) -> None:
        seen = digest_seen(states, name, info.version)
        if seen not in (None, artifact.digest):
            raise VersionConflictError(
                f"{name}@{info.version} of {self.location}",
                found=artifact.digest,
                expected=f"{seen}, its digest when it was last seen, as versions are write-once",
                hint=self._accept_hint(name),
            )
        if not older_records(states, name, info):
            return
        # Another process of this user may have changed it since then.
        with states.own_change(), self.reread():
            now = {listed.version: listed for listed in self.versions(name)}
            if older := older_records(states, name, now.get(info.version, info)):
                raise self._older_state(name, ", ".join(older))

    def _check_seen_signature(self, states: SeenStates, name: str, version: int) -> None:
        """Refuse a signature that is another than the one that was seen; keep one that is new."""
        if not self._has_other_signature(states, name, version):
            return
        # Another process of this user may have replaced it.
        with states.own_change(), self.reread():
            if self._has_other_signature(states, name, version):
                raise self._older_state(
                    name, f"the signature of {name}@{version} was replaced by another"
                )

    def _has_other_signature(self, states: SeenStates, name: str, version: int) -> bool:
        seen = states.signature(name, version)
        try:
            found = self.signature(name, version)
        except RegistryError:
            if seen is None:  # it is not required
                return False
            raise
        if seen not in (None, signature_digest(found)):
            return True
        _keep_signature(states, name, version, found)
        return False

    def _older_state(self, name: str, text: str) -> OlderStateError:
        return OlderStateError(
            f"{self.location} shows an older state than before, so it was not read: {text}",
            hint=self._accept_hint(name),
        )

    def _accept_hint(self, name: str) -> str:
        return f"if its owner did so, `wsdarts-hub accept {name}{self.option}` accepts it"

    @abstractmethod
    def configure(self, config: RegistryConfig) -> None:
        """Replace the settings.

        Raises:
            RegistryError: The registry cannot be written.
        """

    def genotype(self, entry: Entry) -> "Genotype":
        """Return the genotype of an entry.

        Raises:
            ArtifactError: It is damaged or malformed.
        """
        return self.pull_without_weights(Reference(name=entry.name, digest=entry.digest)).genotype

    def pull_without_weights(self, reference: str | Reference) -> "Artifact":
        """Fetch and verify an artifact without downloading its weights.

        Where the weights are missing, its ``weights`` and ``check`` raise an ArtifactError.

        Raises:
            ReferenceNotFoundError: There is no such artifact.
            ArtifactError: It is damaged or malformed.
            SignatureError: It is not signed as is required.
        """
        return self.pull(reference)

    @abstractmethod
    def read(self, entry: Entry, path: str) -> bytes:
        """Return one small file of a published version, verified.

        Raises:
            ArtifactError: It is damaged, or larger than 8 MiB.
        """

    @abstractmethod
    def pull(self, reference: str | Reference, out: str | Path | None = None) -> "Artifact":
        """Fetch and verify an artifact.

        Args:
            reference: ``NAME``, ``NAME@3``, ``NAME@stable`` or ``NAME@sha256:…``.
            out: A new or empty directory to put it into; None for a place of the store's own.

        Raises:
            ReferenceNotFoundError: There is no such artifact.
            ArtifactError: It is damaged or malformed.
            SignatureError: It is not signed as is required; nothing was written.
            RegistryError: ``out`` is not empty or cannot be written.
        """

    @abstractmethod
    def publish(
        self, artifact: "str | Path | Edition", name: str, version: int | None = None
    ) -> Entry:
        """Publish an artifact as a new version.

        Args:
            artifact: Its directory, as ``write_artifact`` wrote it, or an edition of it.
            name: Name to publish under.
            version: Exact version; None takes the next one. Content that is already
                published under this name is not published twice: its entry is returned.

        Raises:
            ArtifactError: The artifact does not verify.
            VersionConflictError: The version exists with other content, or the content exists
                as another version.
            RegistryError: The registry cannot be written, or the content was yanked.
        """

    @abstractmethod
    def aliases(self, name: str) -> Mapping[str, int]:
        """Return the aliases of a name and the version of each; none for an unknown name."""

    @abstractmethod
    def signature(self, name: str, version: int) -> bytes | None:
        """Return the signature of a version, not verified; None if it was not signed."""

    @abstractmethod
    def write_yank(self, name: str, version: int, change: Callable[[Yank | None], Yank]) -> None:
        """Replace the record of a version's yank. For ``yank`` and ``unyank``.

        Args:
            name: The name.
            version: Its version.
            change: Returns the record that follows the present one, which another process may have
                written meanwhile. What it raises is raised, and nothing is written.
        """

    @abstractmethod
    def write_alias(self, name: str, alias: str, record: Alias | None) -> None:
        """Replace the record of an alias, or remove it. For ``set_alias`` and ``remove_alias``."""

    @abstractmethod
    def write_signature(self, name: str, version: int, signature: bytes) -> None:
        """Replace the signature of a version. For ``set_signature``."""

    def hub_id(self, name: str) -> str | None:  # noqa: ARG002
        """Return the id of the repository of a name on the Hub; None for other registries."""
        return None

    def nearest(self, embedding: "TaskEmbedding", k: int = 5) -> "Ranking":
        """Rank the latest version of each name by the distance of its task.

        Damaged ones are left out with a RegistryWarning, and named by the ranking.

        Args:
            embedding: Embedding of the task that looks for a neighbour.
            k: How many neighbours to return.

        Raises:
            RegistryError: The registry has no artifacts, or ``k`` is below 1.
            NoCommonSpaceError: No artifact has an embedding in the query's space; names the
                spaces that there are.
            EmbeddingError: An embedding in that space has another width.
        """
        # Imported here: listing a registry needs no numpy.
        from wsdarts_registry.stores.nearest_artifacts import rank_registry  # noqa: PLC0415

        return rank_registry(self.catalogue(), embedding, k)

    def catalogue(self) -> Catalogue:
        """Return a snapshot of what the registry holds now, compared with what was seen before.

        Raises:
            RegistryError: It cannot be read.
        """
        found = self.snapshot()
        if self.state_key is not None:
            self.compare(found.listing(), whole=True, listed=found)
        return found

    def snapshot(self) -> Catalogue:
        """Return a snapshot of what the registry holds now.

        Raises:
            RegistryError: It cannot be read.
        """
        return Snapshot(self)

    def reread(self) -> AbstractContextManager[None]:
        """Within this context, read anew also what was read before it in a longer operation."""
        return nullcontext()

    def compared_versions(self, name: str) -> tuple[VersionInfo, ...]:
        """Return the versions of a name; warn if they are older than those seen before."""
        versions = self.versions(name)
        self.compare({name: versions})
        return versions

    def compare(
        self,
        found: Mapping[str, tuple[VersionInfo, ...]],
        *,
        whole: bool = False,
        listed: Catalogue | None = None,
    ) -> None:
        """Compare versions with those seen before, warn of older states, and remember new ones.

        Args:
            found: Versions by name.
            whole: Whether these are all names of the registry.
            listed: The snapshot that shows them; what it has from an index is not remembered.
        """
        key = found.key if isinstance(found, Listing) and whole else None
        states = self._seen_states()
        if states is None or (key is not None and states.is_same(key)):
            return
        rows = {name: row_of(name, found[name]) for name in found}
        with self.reread():
            is_same = compare(self, states, rows, whole=whole, listed=listed)
        if is_same and key is not None:
            states.keep_same(key)

    def compare_rows(self, rows: Mapping[str, Row], *, whole: bool) -> None:
        """Compare as ``compare`` does, from the rows of versions."""
        states = self._seen_states()
        if states is not None:
            with self.reread():
                compare(self, states, rows, whole=whole)

    def remember(
        self, name: str, versions: tuple[VersionInfo, ...], own: int | None = None
    ) -> None:
        """Remember the versions of a name that this user changed.

        Args:
            name: The name.
            versions: Its versions.
            own: The version that this user yanked or restored.
        """
        states = self._seen_states()
        if states is not None:
            states.merge({name: row_of(name, versions)}, own)

    def accept_state(self, name: str | None = None) -> tuple[str, ...]:
        """Accept that the registry shows an older state than was seen before.

        Args:
            name: Accept it of this artifact alone.

        Returns:
            What is older, in words; nothing if nothing is.

        Raises:
            RegistryError: The registry cannot be read.
        """
        states = self._seen_states()
        if states is None:
            return ()
        seen = states.rows()
        if name is None:
            rows = self._present_rows(seen)
        else:
            versions = self.versions(name)
            rows = {name: row_of(name, versions)} if versions else {}
        older = [
            difference.text
            for other in (seen if name is None else (name,))
            for difference in differences(other, seen.get(other), rows.get(other))
        ]
        states.replace(rows, None if name is None else (name,))
        for other, version, seen_signature in tuple(states.signatures()):
            if name in (None, other):
                found_signature = self.signature(other, version)
                if signature_digest(found_signature) not in (None, seen_signature):
                    older.append(f"the signature of {other}@{version} was replaced by another")
                _keep_signature(states, other, version, found_signature)
        return tuple(older)

    def _present_rows(self, seen: Mapping[str, Row]) -> dict[str, Row]:
        """Return the present rows; those that an index alone says are read where they are."""
        found = self.snapshot()
        rows: dict[str, Row] = {}
        for name, versions in found.listing().items():
            row = row_of(name, versions)
            if row != seen.get(name) and not found.is_first_hand(name):
                row = row_of(name, self.versions(name)) if name in seen else b""
            if row:
                rows[name] = row
        return rows

    def forget_state(self) -> None:
        """Forget what was seen at the place of a registry that was just made anew."""
        states = self._seen_states()
        seen = states.rows() if states else {}
        if states and seen:
            states.forget()
            warnings.warn(
                f"{self.location} was made anew, and {pluralize(len(seen), 'artifact')} that had "
                f"been seen there ({', '.join(sorted(seen)[:3])}{', …' if len(seen) > 3 else ''}) "
                "are gone",
                RegistryWarning,
                stacklevel=4,
            )

    def _own_change(self) -> AbstractContextManager[None]:
        states = self._seen_states()
        return nullcontext() if states is None else states.own_change()

    def _remember_change(self, name: str, own: int | None = None) -> None:
        if self.state_key is not None:
            with suppress(RegistryError):  # the change is made, whether it can be read or not
                self.remember(name, self.versions(name), own)

    def _seen_states(self) -> SeenStates | None:
        key = self.state_key
        if key is None:
            return None
        if self._states is None:
            self._states = SeenStates(key)
        return self._states

    def finish_push(self, name: str) -> None:
        """Finish a pending push of a name: one that ended before its last step.

        Raises:
            RegistryError: It cannot be finished.
        """

    def rebuild_index(self) -> tuple[str, ...]:
        """Rebuild the index that speeds up listing and ranking, where the registry has one.

        Returns:
            The names in it.

        Raises:
            RegistryError: It cannot be written, or the registry has none.
        """
        raise RegistryError(
            f"{self.location} keeps no index", expected="a registry on the Hub, such as hf://lab"
        )

    def changing(self) -> AbstractContextManager[None]:
        """Keep other processes from changing the registry while a block decides and writes.

        What is decided by what the registry holds needs it, such as
        ``store.configure(changed(store.config))``; every method of the registry does so by itself.

        Raises:
            RegistryError: It cannot be written, or another process did not finish a change.
        """
        return nullcontext()

    def stale_uploads(self) -> tuple[Path, ...]:
        """Return the uploads of pushes that were killed; none where nothing can be left."""
        return ()

    def unlocked_uploads(self) -> tuple[Path, ...]:
        """Return the uploads without a lock, whose pushes may have ended or not."""
        return ()

    def remove_stale_uploads(self, *, unlocked: bool = False) -> None:
        """Remove the paths of ``stale_uploads``.

        Args:
            unlocked: Remove what ``unlocked_uploads`` returns, too; nobody may be pushing.

        Raises:
            RegistryError: The registry cannot be written.
        """

    def yank(self, reference: str | Reference, reason: str) -> None:
        """Hide a version from listing, ranking and plain ``NAME``; it stays pullable exactly.

        Raises:
            ReferenceNotFoundError: There is no such version.
            RegistryError: The reference is not exact, the reason is empty, the version is
                yanked already, or the registry cannot be written.
        """
        wanted = parsed(reference)
        with self.changing():
            version = _exact(self, wanted, "hide").version
            with self._own_change():
                self.write_yank(wanted.name, version, partial(_new_yank, wanted, reason))
                self._remember_change(wanted.name, version)

    def unyank(self, reference: str | Reference, reason: str) -> None:
        """Revert a yank; both reasons are kept.

        Raises:
            ReferenceNotFoundError: There is no such version.
            RegistryError: The reference is not exact, the reason is empty, the version is not
                yanked, or the registry cannot be written.
        """
        wanted = parsed(reference)
        with self.changing():
            version = _exact(self, wanted, "restore").version
            with self._own_change():
                self.write_yank(wanted.name, version, partial(_lifted_yank, wanted, reason))
                self._remember_change(wanted.name, version)

    def set_signature(self, name: str, version: int, signature: bytes) -> None:
        """Put a signature beside a version; replace an existing one.

        Args:
            name: The name.
            version: The version.
            signature: Of that version; it is not verified.

        Raises:
            RegistryError: The registry cannot be written.
        """
        with self._own_change():
            self.write_signature(name, version, signature)
            self._remember_change(name)
            states = self._seen_states()
            if states is not None:
                _keep_signature(states, name, version, signature)

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Let ``NAME@ALIAS`` name a version; replace an existing alias.

        Raises:
            ReferenceNotFoundError: There is no such version.
            RegistryError: The alias is malformed, the version is yanked, or the registry cannot
                be written.
        """
        with self.changing():
            self.write_alias(name, alias, _new_alias(self, name, alias, version))
        self._remember_change(name)

    def remove_alias(self, name: str, alias: str) -> None:
        """Remove the alias ``NAME@ALIAS``.

        Raises:
            RegistryError: There is no such alias, or the registry cannot be written.
        """
        with self.changing():
            self.version_of_alias(name, alias)
            self.write_alias(name, alias, None)


def _keep_signature(states: SeenStates, name: str, version: int, signature: bytes | None) -> None:
    digest = signature_digest(signature)
    if states.signature(name, version) != digest:
        states.keep_signature(name, version, digest)


def _new_yank(reference: Reference, reason: str, before: Yank | None) -> Yank:
    """Return the record that hides a version; see ``Store.yank``."""
    if before is not None and before.lifted is None:
        raise RegistryError(f"{reference} was yanked already, on {before.when}: {before.reason}")
    try:
        return Yank(reason=reason, when=_moment(before))
    except ValidationError as problem:
        raise RegistryError(f"the reason is not allowed: {explain(problem)}") from problem


def _lifted_yank(reference: Reference, reason: str, before: Yank | None) -> Yank:
    """Return the record that restores a version; see ``Store.unyank``."""
    if before is None or before.lifted is not None:
        raise RegistryError(f"{reference} is not yanked", hint="there is nothing to take back")
    try:
        lift = Lift(reason=reason, when=_moment(before))
    except ValidationError as problem:
        raise RegistryError(f"the reason is not allowed: {explain(problem)}") from problem
    return before.model_copy(update={"lifted": lift})


def _moment(before: Yank | None) -> str:
    """Return now; not before the last change of a yank, even if a clock was set back meanwhile."""
    return now() if before is None else max(now(), before.newest)


def _new_alias(store: Catalogue, name: str, alias: str, version: int) -> Alias:
    """Return the record of an alias; see ``Store.set_alias``."""
    check_alias(alias)
    info = store.find(Reference(name=name, version=version))
    if info.yanked is not None:
        raise RegistryError(
            f"{name}@{version} was yanked ({info.yanked.reason})", hint="name a version that is not"
        )
    return Alias(version=version, when=now())


def published_version(store: Catalogue, name: str, version: int | None, digest: str) -> int | None:
    """Return the version that has a content already, if any.

    Args:
        store: The registry.
        name: Name to publish under.
        version: The version that is asked for; None for the next one.
        digest: Of the content.

    Raises:
        VersionConflictError: The version has other content, or another version this one.
        RegistryError: The content was yanked.
    """
    for info in store.compared_versions(name):
        reference = f"{name}@{info.version}"
        if info.version == version and info.digest != digest:
            raise VersionConflictError(
                (f"{reference} exists with digest {info.digest}, and what is pushed has {digest}"),
                hint="versions are write-once: leave the version out to take the next",
            )
        if info.digest != digest:
            continue
        if info.yanked is not None:
            raise RegistryError(
                f"this content is {reference}, which was yanked ({info.yanked.reason})",
                hint=(
                    "publish a corrected artifact, or restore it with `wsdarts-hub unyank "
                    f"{reference} --reason REASON{store.option}`"
                ),
            )
        if version not in (None, info.version):
            raise VersionConflictError(
                f"this content ({digest}) is {reference} already",
                expected=f"new content for version {version}: use {reference}",
            )
        return info.version
    return None


def _exact(store: Catalogue, reference: Reference, what: str) -> VersionInfo:
    if not reference.is_exact:
        raise RegistryError(
            f"{reference} is not exact",
            hint=f"name the version to {what}, such as {reference.name}@1",
        )
    return store.find(reference)
