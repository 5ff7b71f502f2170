"""Signature policies: the signatures that artifacts need.

A policy is a short list of rules; the first that fits a registry and a name says which keys may
have signed. It comes from keys that a call names, from a file, or, where neither is named, from
the user's own file: what the environment variable ``WSDARTS_HUB_POLICY`` names, else
``policy.json`` in the user's configuration directory.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

import platformdirs
from pydantic import Field

from wsdarts_registry._files import exists, expanded, read_regular, resolved
from wsdarts_registry._json import Document, Record
from wsdarts_registry.errors import FileAccessError, SignatureError
from wsdarts_registry.stores.huggingface.location import is_huggingface
from wsdarts_registry.stores.records import shipped_zoo

if TYPE_CHECKING:
    from wsdarts_registry.artifact.reader import Artifact
    from wsdarts_registry.artifact.reference import Reference

POLICY_VARIABLE = "WSDARTS_HUB_POLICY"
_FILE = "policy.json"
_SHIPPED = "shipped"
_MAX_RULES = 1000

_Place = Annotated[str, Field(min_length=1, max_length=4096)]
_Pattern = Annotated[str, Field(pattern=r"^[a-z0-9._*-]{1,64}$")]


class PolicyRule(Record):
    """Rule of a policy: the keys that may have signed artifacts of a registry.

    Attributes:
        registry: ``hf://OWNER``, a directory, ``shipped`` for the zoo that comes with the
            package, or ``*`` for all.
        names: Names of artifacts, in which ``*`` stands for any characters.
        keys: Files of public keys, one of which has to have signed.
        accept: ``version``: the signature has to name the version; ``content``: one that names
            files alone will do; ``unsigned``: none is needed.
    """

    registry: _Place
    names: Annotated[tuple[_Pattern, ...], Field(min_length=1, max_length=_MAX_RULES)] = ("*",)
    keys: Annotated[tuple[_Place, ...], Field(max_length=100)] = ()
    accept: Literal["version", "content", "unsigned"] = "version"


class _PolicyDocument(Document):
    format: Literal[1] = 1
    rules: Annotated[tuple[PolicyRule, ...], Field(max_length=_MAX_RULES)]


@dataclass(frozen=True, kw_only=True)
class SignaturePolicy:
    """List of rules; the first that matches decides, and without one no signature is needed.

    Attributes:
        rules: The rules.
        folder: What paths in the rules are relative to.
        origin: Where the rules are from, in words.
    """

    rules: tuple[PolicyRule, ...]
    folder: Path
    origin: str

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a policy file.

        Raises:
            SignatureError: It cannot be read, breaks the format, or a rule lacks keys.
        """
        place = expanded(path)
        try:
            content = read_regular(place)
        except FileAccessError as error:
            raise SignatureError(f"cannot read the policy: {error}") from error
        what = f"the policy {place}"
        rules = _PolicyDocument.from_bytes(content, what=what, error=SignatureError).rules
        for number, rule in enumerate(rules, start=1):
            if (rule.accept == "unsigned") == bool(rule.keys):
                raise SignatureError(
                    (
                        f"rule {number} of {what} has {len(rule.keys)} keys and accepts "
                        f'"{rule.accept}"'
                    ),
                    expected='keys, or "accept": "unsigned" and none',
                )
        return cls(rules=rules, folder=place.absolute().parent, origin=str(place))

    @classmethod
    def of_keys(cls, *keys: str | Path) -> Self:
        """Require of everything that the owner of one of these keys signed it.

        Raises:
            SignatureError: A key cannot be read, or is none.
        """
        # Imported here: only who asks for a signature needs it.
        from wsdarts_registry.artifact.signing import check_public_key  # noqa: PLC0415

        for key in keys:
            check_public_key(key)
        rule = PolicyRule.model_construct(
            registry="*", names=("*",), keys=tuple(map(str, keys)), accept="version"
        )
        return cls(rules=(rule,), folder=Path(), origin=" or ".join(map(str, keys)))

    @classmethod
    def of_nothing(cls) -> Self:
        """Require no signature, whatever the user's own policy says."""
        return cls(rules=(), folder=Path(), origin="nothing")

    @classmethod
    def of_user(cls) -> Self:
        """Read the user's own policy; one that requires nothing where there is none.

        Raises:
            SignatureError: As for ``load``.
        """
        named = os.environ.get(POLICY_VARIABLE)
        if named:
            return cls.load(named)
        usual = platformdirs.user_config_path("wsdarts-hub") / _FILE
        return cls.load(usual) if exists(usual) else cls.of_nothing()

    def rule(self, location: str, name: str) -> PolicyRule | None:
        """Return the rule about a name in a registry, the first that fits; or None."""
        for rule in self.rules:
            if self._is_about(rule.registry, location) and any(
                fnmatchcase(name, pattern) for pattern in rule.names
            ):
                return rule
        return None

    def check(
        self,
        artifact: "Artifact",
        signature: bytes | None,
        reference: "Reference",
        rule: PolicyRule,
    ) -> None:
        """Refuse an artifact that is not signed as a rule says.

        Raises:
            SignatureError: It is not; says where the rule is from.
        """
        # Imported here: only who asks for a signature needs it.
        from wsdarts_registry.artifact.signing import check_signature  # noqa: PLC0415

        keys = [self.folder / expanded(key) for key in rule.keys]
        check_signature(artifact, signature, keys, reference, content_only=rule.accept == "content")

    def _is_about(self, registry: str, location: str) -> bool:
        if registry == "*":
            return True
        if registry == _SHIPPED:
            registry = str(shipped_zoo())
        if is_huggingface(registry) or is_huggingface(location):
            return registry.rstrip("/").casefold() == location.rstrip("/").casefold()
        return resolved(self.folder / expanded(registry)) == resolved(Path(location))


Required = str | Path | Sequence[str | Path] | SignaturePolicy | None


def required_policy(required: Required) -> SignaturePolicy | None:
    """Return the policy that a caller asks for: keys, or a policy; None for the user's own.

    Raises:
        SignatureError: The list of keys is empty, or one cannot be read.
    """
    if required is None or isinstance(required, SignaturePolicy):
        return required
    keys = [required] if isinstance(required, str | Path) else list(required)
    if not keys:
        raise SignatureError(
            "no key is named whose signature is required",
            hint="name a file with a public key, as `wsdarts-hub keygen` writes it",
        )
    return SignaturePolicy.of_keys(*keys)
