"""What a warm start starts from: stated rules, decided once and kept with the run."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from wsdarts_registry.errors import RegistryError, SettingsError
from wsdarts_registry.manifest import Manifest
from wsdarts_registry.nearest import Ranking
from wsdarts_sdk.search.settings import SearchSettings

Mode = Literal["auto", "topology", "trained", "meta", "union", "cold"]
MODES: tuple[str, ...] = get_args(Mode)
_META = "meta-transfer"
_WITHOUT_SOURCE = ("union", "cold")


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What the user asked to start from.

    Attributes:
        source: Reference of the artifact; None lets the mode choose.
        mode: What to take over.
        k: How many of the nearest to report, and to join in mode ``union``.

    Raises:
        SettingsError: There is no such mode, it takes no source, or ``k`` is below 1.
    """

    source: str | None
    mode: Mode
    k: int

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise SettingsError(f"mode is {self.mode!r}; expected one of {', '.join(MODES)}")
        if self.source is not None and self.mode in _WITHOUT_SOURCE:
            raise SettingsError(
                f"mode {self.mode!r} does not start from {self.source}: leave --from out, or take "
                "--mode auto, topology or trained"
            )
        if self.k < 1:
            raise SettingsError(f"{self.k} neighbours were asked for; expected at least 1")

    @property
    def needs_ranking(self) -> bool:
        """Whether there is nothing to start from without a ranking."""
        return self.source is None and self.mode not in ("auto", "cold")


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What to start from.

    Attributes:
        mode: ``topology`` (λ), ``trained`` (λ̂), ``meta`` (λ_meta), ``union`` or ``cold``.
        sources: Exact references of the artifacts, none for ``cold``.
        why: The rule that decided, in words.
    """

    mode: str
    sources: tuple[str, ...]
    why: str

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return {"mode": self.mode, "sources": list(self.sources), "why": self.why}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Decision":
        """Read what ``to_json`` wrote."""
        return cls(mode=data["mode"], sources=tuple(data["sources"]), why=data["why"])

    def __str__(self) -> str:
        return " + ".join(self.sources) or "cold"


@dataclass(frozen=True, kw_only=True)
class Option:
    """An artifact that a warm start may use."""

    reference: str
    manifest: Manifest

    @property
    def trained(self) -> bool:
        """Whether it has weights."""
        return "weights.safetensors" in self.manifest.files

    def misfit(self, settings: SearchSettings) -> str | None:
        """Why its weights do not fit the last stage of the settings; None if they do."""
        if not self.trained:
            return f"{self.reference} has no weights"
        there, here = self.manifest.network, settings.stages[-1]
        if (there.cells, there.channels) == (here.cells, settings.channels):
            return None
        return (
            f"{self.reference} has weights for {there.cells} cells with {there.channels} channels, "
            f"this search has {here.cells} cells with {settings.channels} channels"
        )


def decide(
    mode: Mode,
    settings: SearchSettings,
    *,
    ranking: Ranking | None,
    options: Sequence[Option],
    source: str | None = None,
    k: int = 3,
) -> Decision:
    """Decide what to start from.

    ``auto`` takes the given source, else the nearest single-task artifact when it is near by
    a measured threshold (or when no threshold was measured), with its weights if
    they fit and as masks alone if they do not. When nothing is near it takes the nearest
    λ_meta, and a cold search where the registry has none.

    Args:
        mode: What the user asked for.
        settings: The search that is to be warm-started.
        ranking: All of the registry's artifacts by distance; None where there are none.
        options: Every artifact of the registry that may be used, nearest first; artifacts of
            another search space are not among them.
        source: Exact reference of the artifact that the user chose, which is in ``options``.
        k: How many of the nearest ``union`` joins.

    Raises:
        SettingsError: The chosen artifact's weights do not fit the settings.
        RegistryError: The registry has no artifact of the kind that the mode needs.
    """
    if mode == "cold":
        return Decision(mode="cold", sources=(), why="a cold search was asked for")
    by_reference = {option.reference: option for option in options}
    chosen = by_reference[source] if source else None
    nearest = [by_reference[name] for name in _single_tasks(ranking) if name in by_reference]
    meta = [option for option in options if option.manifest.kind == _META]
    match mode:
        case "auto" if chosen:
            return _best(chosen, settings, "the artifact was asked for")
        case "auto":
            return _auto(settings, ranking, nearest, meta)
        case "union":
            return _union(nearest[:k])
        case "meta":
            return _meta([chosen] if chosen else meta)
    return _single(mode, chosen or _first(nearest, mode), settings, "the mode was asked for")


def _auto(
    settings: SearchSettings,
    ranking: Ranking | None,
    nearest: list[Option],
    meta: list[Option],
) -> Decision:
    if ranking is None or not nearest:
        why = (
            "the registry has no single-task artifact of this search space with an embedding by "
            "this probe"
        )
    elif ranking.near is not False:
        return _best(nearest[0], settings, ranking.why)
    else:
        why = ranking.why
    if not meta:
        return Decision(mode="cold", sources=(), why=f"{why}, so the search is cold")
    return Decision(
        mode="meta",
        sources=(meta[0].reference,),
        why=f"{why}, so the search starts from the λ_meta {meta[0].reference}",
    )


def _single_tasks(ranking: Ranking | None) -> list[str]:
    """A mean over several tasks is near to everything, so λ_meta is not ranked with them."""
    neighbours = ranking.neighbours if ranking else ()
    return [neighbour.reference for neighbour in neighbours if neighbour.kind != _META]


def _first(nearest: list[Option], mode: str) -> Option:
    if not nearest:
        raise RegistryError(
            f"mode {mode!r} needs an artifact but the registry has none to rank; name one with "
            "--from, or use --mode cold"
        )
    return nearest[0]


def _union(nearest: list[Option]) -> Decision:
    """The union of many masks is nearly the whole space, so few are joined by default."""
    _first(nearest, "union")
    names = tuple(option.reference for option in nearest)
    return Decision(
        mode="union",
        sources=names,
        why=f"the union of the masks of the {len(names)} nearest was asked for (k sets how many)",
    )


def _meta(meta: list[Option]) -> Decision:
    if not meta or meta[0].manifest.kind != _META:
        raise RegistryError(
            "mode 'meta' needs a meta-transfer artifact and there is none; list what there is with "
            "`wsdarts-hub list`, or make one with `wsdarts-hub search DATA DATA… --out RUN`"
        )
    return Decision(mode="meta", sources=(meta[0].reference,), why="λ_meta was asked for")


def _single(mode: str, option: Option, settings: SearchSettings, why: str) -> Decision:
    misfit = option.misfit(settings)
    if mode == "trained" and misfit:
        raise SettingsError(
            f"{misfit}; use the settings that it was searched with, or --mode topology, which "
            "takes its masks alone"
        )
    return Decision(mode=mode, sources=(option.reference,), why=why)


def _best(option: Option, settings: SearchSettings, why: str) -> Decision:
    misfit = option.misfit(settings)
    if misfit is None:
        return _single("trained", option, settings, f"{why}; its weights fit")
    return _single("topology", option, settings, f"{why}; masks alone, since {misfit}")
