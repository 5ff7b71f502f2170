"""Rules for the starting point of a warm start."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import fmean
from typing import Any, Literal, get_args

from wsdarts_registry._format import pluralize, points
from wsdarts_registry.artifact.facts import TransferGain
from wsdarts_registry.artifact.manifest import WEIGHTS, Manifest
from wsdarts_registry.embedding.ranking import Ranking
from wsdarts_registry.errors import (
    RegistryError,
    SettingsError,
)
from wsdarts_registry.stores.records import Entry
from wsdarts_sdk.search.settings import SearchSettings

Mode = Literal["auto", "topology", "trained", "meta", "union", "cold"]
MODES: tuple[str, ...] = get_args(Mode)
META = "meta-transfer"
_WITHOUT_SOURCE = ("union", "cold")
_PRIOR_SETS = 2.0
"""Sets for which the mean of all gains counts beside the sets that an artifact's own is of."""
_COMPARED = 20
"""So many of the nearest are compared by their transfer gains, near or not."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The user's choice of a starting point.

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
            raise SettingsError(
                "mode", found=repr(self.mode), expected=f"one of {', '.join(MODES)}"
            )
        if self.source is not None and self.mode in _WITHOUT_SOURCE:
            raise SettingsError(
                f"source of mode {self.mode!r}",
                found=self.source,
                expected="none",
                hint="leave --from out, or take --mode auto, topology or trained",
            )
        if self.k < 1:
            raise SettingsError("number of neighbours", found=self.k, expected="at least 1")

    @property
    def ranking_decides(self) -> bool:
        """Whether the ranking decides; else it is only reported."""
        return self.source is None and self.mode != "cold"

    @property
    def needs_ranking(self) -> bool:
        """Whether there is nothing to start from without a ranking."""
        return self.ranking_decides and self.mode != "auto"


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Artifacts that a warm start starts from, and the mode in which it uses them.

    Attributes:
        mode: ``topology`` (λ), ``trained`` (λ̂), ``meta`` (λ_meta), ``union`` or ``cold``.
        sources: Exact references of the artifacts, none for ``cold``.
        why: The rule that decided, in words.
        digests: Digest of each source; none where the first version recorded the decision.
        ranking: The ranking that it was made by; None where nothing was ranked.
    """

    mode: str
    sources: tuple[str, ...]
    why: str
    digests: tuple[str, ...] = ()
    ranking: Ranking | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the decision as plain JSON data for the run's result."""
        return {"mode": self.mode, "sources": list(self.sources), "why": self.why}

    def __str__(self) -> str:
        return " + ".join(self.sources) or "cold"


@dataclass(frozen=True, kw_only=True)
class Option:
    """An artifact that a warm start may use."""

    entry: Entry

    @property
    def reference(self) -> str:
        """Its exact reference."""
        return str(self.entry.reference)

    @property
    def manifest(self) -> Manifest:
        """Its manifest."""
        return self.entry.manifest

    @property
    def trained(self) -> bool:
        """Whether it has weights."""
        return WEIGHTS in self.manifest.files

    def misfit(self, settings: SearchSettings) -> str | None:
        """Return why its weights do not fit the last stage of the settings; None if they do."""
        if not self.trained:
            return f"{self.reference} has no weights"
        there, here = self.manifest.network, settings.stages[-1]
        if (there.cells, there.channels) == (here.cells, settings.channels):
            return None
        return (
            f"{self.reference} has weights for {pluralize(there.cells, 'cell')} with "
            f"{pluralize(there.channels, 'channel')}, this search has "
            f"{pluralize(here.cells, 'cell')} with {pluralize(settings.channels, 'channel')}"
        )


def decide(
    mode: Mode,
    settings: SearchSettings,
    *,
    ranking: Ranking | None,
    singles: Iterable[Option],
    metas: Iterable[Option],
    chosen: Option | None = None,
    k: int = 3,
) -> Decision:
    """Choose the starting point.

    ``auto`` takes the given source. Else, of the nearest 20 single-task artifacts, it takes the one
    of the highest transfer gain, of those whose weights fit and whose gain's interval is above 0.
    Where there is none, and the nearest is near by a measured threshold (or no threshold was
    measured), it takes the nearest, with its weights if they fit and as masks alone if they do
    not. When nothing is near it takes the nearest λ_meta, and a cold search where the registry has
    none.

    Args:
        mode: What the user asked for.
        settings: The search that is to be warm-started.
        ranking: Says whether the nearest is near; None where nothing can be ranked.
        singles: The ranked single-task artifacts of the settings' search space, nearest first.
            No more of them are taken than the mode needs.
        metas: The meta-transfer artifacts of that space, the ranked ones first, nearest first.
            At most one is taken.
        chosen: The artifact that the user chose.
        k: How many of the nearest ``union`` joins.

    Raises:
        SettingsError: The chosen artifact's weights do not fit the settings.
        RegistryError: The registry has no artifact of the kind that the mode needs.
    """
    if mode == "cold":
        return Decision(mode="cold", sources=(), why="a cold search was asked for")
    match mode:
        case "auto" if chosen:
            return _best(chosen, settings, "the artifact was asked for")
        case "auto":
            return _auto(settings, ranking, singles, metas)
        case "union":
            return _union(singles, k)
        case "meta":
            return _meta(chosen or next(iter(metas), None))
    option = chosen or _first(singles, mode)
    return _single(mode, option, settings, "the mode was asked for")


def _auto(
    settings: SearchSettings,
    ranking: Ranking | None,
    singles: Iterable[Option],
    metas: Iterable[Option],
) -> Decision:
    compared = list(islice(singles, _COMPARED))
    if ranking is None or not compared:
        why = (
            "the registry has no single-task artifact of this search space with an embedding by "
            "this probe"
        )
    else:
        why = ranking.why
        gaining = _gaining(compared, settings)
        if gaining is not None:
            option, gain = gaining
            why += f"; of the {len(compared)} nearest, {option.reference} has the highest transfer "
            why += f"gain, {gain}"
            return _best(option, settings, why)
        if ranking.near is not False:
            return _best(compared[0], settings, why)
    meta = next(iter(metas), None)
    if meta is None:
        return Decision(mode="cold", sources=(), why=f"{why}, so the search is cold")
    why = f"{why}, so the search starts from the λ_meta {meta.reference}"
    return _from("meta", why, meta)


def _gaining(found: Sequence[Option], settings: SearchSettings) -> tuple[Option, str] | None:
    """Return the artifact of the highest transfer gain whose weights fit, and that gain.

    Gains are shrunk towards their mean, the more the fewer image sets they are of. One counts where
    its interval is above 0; where none is, None is returned.

    Args:
        found: Nearest first.
        settings: The search that is to be warm-started.
    """
    fitting = [option for option in found if option.misfit(settings) is None]
    gains = [TransferGain.of(option.manifest) for option in fitting]
    stated = [each.gain for each in gains if each is not None]
    mean = fmean(stated) if stated else 0.0

    def expected(gain: TransferGain) -> float:
        return (gain.sets * gain.gain + _PRIOR_SETS * mean) / (gain.sets + _PRIOR_SETS)

    sure = [
        (option, gain)
        for option, gain in zip(fitting, gains, strict=True)
        if gain is not None and gain.low is not None and gain.low > 0
    ]
    if not sure:
        return None
    option, gain = max(sure, key=lambda each: expected(each[1]))
    return option, points(gain.gain)


def _from(mode: str, why: str, *options: Option) -> Decision:
    return Decision(
        mode=mode,
        sources=tuple(option.reference for option in options),
        why=why,
        digests=tuple(option.entry.digest for option in options),
    )


def _first(singles: Iterable[Option], mode: str) -> Option:
    found = next(iter(singles), None)
    if found is None:
        raise nothing_to_rank(mode)
    return found


def nothing_to_rank(mode: str) -> RegistryError:
    """Return the error of a mode that needs an artifact where none can be ranked."""
    return RegistryError(
        f"mode {mode!r} needs an artifact but the registry has none to rank",
        hint="name one with --from, or use --mode cold",
    )


def _union(singles: Iterable[Option], k: int) -> Decision:
    """Join the masks of the nearest; few by default, since the union of many is the whole space."""
    nearest = tuple(islice(singles, k))
    _first(nearest, "union")
    why = f"the union of the masks of the {len(nearest)} nearest was asked for (k sets how many)"
    return _from("union", why, *nearest)


def _meta(option: Option | None) -> Decision:
    if option is None or option.manifest.kind != META:
        raise RegistryError(
            "mode 'meta' needs a meta-transfer artifact and there is none",
            hint=(
                "list what there is with `wsdarts-hub list`, or make one with `wsdarts-hub "
                "search DATA DATA… --out RUN`"
            ),
        )
    return _from("meta", "λ_meta was asked for", option)


def _single(mode: str, option: Option, settings: SearchSettings, why: str) -> Decision:
    misfit = option.misfit(settings)
    if mode == "trained" and misfit:
        raise SettingsError(
            misfit,
            hint=(
                "use the settings that it was searched with, or --mode topology, which takes its "
                "masks alone"
            ),
        )
    return _from(mode, why, option)


def _best(option: Option, settings: SearchSettings, why: str) -> Decision:
    misfit = option.misfit(settings)
    if misfit is None:
        return _single("trained", option, settings, f"{why}; its weights fit")
    return _single("topology", option, settings, f"{why}; masks alone, since {misfit}")
