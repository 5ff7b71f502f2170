"""Pipelines that users start: embed, search, warm start, train, evaluate, doctor.

Each reads from top to bottom; ``run_context`` has their inputs and their open run directory. May
import ``artifacts``, ``data``, ``models``, ``presets``, ``reports``, ``runs``, ``search``,
``supernet`` and ``task2vec``. Public: ``warm_start``, ``search``, ``train``, ``embed_data`` and
``nearest`` (``embed``), and their results, in the modules of these names.
"""

from wsdarts_registry._views import register_views

_VIEWS = "wsdarts_sdk.reports.notebook"

register_views(
    {
        "wsdarts_sdk.pipelines.search:SearchRun": f"{_VIEWS}:search_view",
        "wsdarts_sdk.pipelines.train:TrainingRun": f"{_VIEWS}:training_view",
        "wsdarts_sdk.pipelines.warm_start:WarmStart": f"{_VIEWS}:warm_start_view",
    }
)
