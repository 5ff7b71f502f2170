"""What a finished search found, as its artifact and its report tell it."""

from dataclasses import dataclass

from wsdarts_registry.embedding import TaskEmbedding
from wsdarts_registry.nearest import Ranking
from wsdarts_sdk.artifacts.building import Origin
from wsdarts_sdk.jobs.decision import Decision
from wsdarts_sdk.jobs.job import Job
from wsdarts_sdk.jobs.sweep import Trial
from wsdarts_sdk.search.loop import SearchResult
from wsdarts_sdk.search.settings import SearchSettings


@dataclass(frozen=True, kw_only=True)
class Found:
    """A finished search with everything that its artifact and its report say.

    Attributes:
        job: The job that searched; its run may be closed since.
        settings: Settings of the search; those of a warm start are a part of the preset's.
        result: What it found.
        embeddings: One for each task and probe.
        decision: What a warm start started from, and why; None for a plain search.
        ranking: The nearest artifacts, where they were ranked.
        trials: The sweep's trials, best first.
        origin: For the artifact's lineage.
    """

    job: Job
    settings: SearchSettings
    result: SearchResult
    embeddings: tuple[TaskEmbedding, ...]
    decision: Decision | None = None
    ranking: Ranking | None = None
    trials: tuple[Trial, ...] = ()
    origin: Origin | None = None
