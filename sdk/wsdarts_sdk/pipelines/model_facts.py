"""Facts about a model that was trained, for its file and its card."""

from wsdarts_registry._text import sanitize
from wsdarts_sdk.models.facts import DataFacts, InheritedFacts, LineageFacts, ModelFacts
from wsdarts_sdk.models.network import count
from wsdarts_sdk.models.training import TrainingResult
from wsdarts_sdk.pipelines.run_context import RunContext

_LONGEST = 200


def model_facts(
    context: RunContext, result: TrainingResult, lineage: LineageFacts | None
) -> ModelFacts:
    """Return the facts about a model at the end of its training.

    Nothing in it is a path, or depends on when and how fast it was trained.

    Args:
        context: The pipeline that trained it.
        result: What it measured.
        lineage: What found the cells.
    """
    (task,), settings = context.tasks, context.preset.training
    inherited = None
    if result.inherited is not None:
        named = None if lineage is None else lineage.reference or lineage.digest
        share = result.inherited.weights
        inherited = InheritedFacts(source=named or "a supernet", share=share)
    return ModelFacts(
        accuracy=result.accuracy,
        images=result.images,
        held_out=result.held_out,
        parameters=result.parameters,
        multiply_adds=count(result.model, result.model.image_size).multiply_adds or None,
        epochs=settings.epochs or None,
        preset=context.preset.name,
        seed=settings.seed,
        data=DataFacts(
            name=sanitize(task.name, _LONGEST) or "data",
            digest=task.digest,
            images=len(task),
            classes=task.classes,
            trained_on=len(task.train_indices),
            dataset=task.dataset,
            given_split=bool(task.given_split),
            groups=task.group_count,
        ),
        lineage=lineage,
        inherited=inherited,
    )
