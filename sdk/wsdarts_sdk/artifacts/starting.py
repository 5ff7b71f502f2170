"""Where a search starts: from all operations, or from what artifacts found."""

from collections.abc import Sequence

from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.architecture.space import SearchSpace
from wsdarts_registry.artifact.reader import Artifact
from wsdarts_registry.errors import SettingsError
from wsdarts_sdk.artifacts.check import artifact_alpha, artifact_weights, run_check
from wsdarts_sdk.search.settings import SearchSettings
from wsdarts_sdk.search.state import StartingPoint


def starting_point(
    mode: str, sources: Sequence[tuple[str, Artifact]], settings: SearchSettings
) -> StartingPoint:
    """What a search starts from.

    Args:
        mode: ``cold`` (all operations), ``topology`` or ``meta`` (the masks of one artifact),
            ``trained`` (its masks, weights and α) or ``union`` (masks of several).
        sources: Exact reference and verified artifact of each source.
        settings: Settings of the search, whose search space the artifacts must have.

    Raises:
        SettingsError: An artifact has another search space, or no weights where they are
            needed.
        ArtifactError: An artifact's weights fail its own check.
    """
    if mode == "cold":
        return StartingPoint(masks=OperationMasks.full(settings.space))
    for reference, artifact in sources:
        check_space(reference, artifact.masks.space, settings)
    (reference, first), *others = sources
    if mode == "trained":
        weights = first.weights()
        if weights is None:
            raise SettingsError(f"{reference} has no weights", hint="use --mode topology")
        run_check(first)
        return StartingPoint(
            masks=first.masks,
            weights=artifact_weights(weights),
            alpha=artifact_alpha(weights),
            source=reference,
        )
    masks = first.masks
    for _, other in others:
        masks = masks.union(other.masks)
    return StartingPoint(masks=masks, source=" + ".join(name for name, _ in sources))


def check_space(reference: str, space: SearchSpace, settings: SearchSettings) -> None:
    """Refuse an artifact of another search space than the settings have.

    Raises:
        SettingsError: Names both spaces.
    """
    if space != settings.space:
        raise SettingsError(
            f"{reference} has the search space {space}",
            hint=(
                f"this search has {settings.space}: search in the artifact's space, or start "
                "from another artifact"
            ),
        )
