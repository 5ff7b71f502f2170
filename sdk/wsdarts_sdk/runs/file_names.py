"""Names of the files of a run directory, and of what is in them.

The registry reads some of them, too, and defines their names, since it cannot import this package.
"""

from wsdarts_registry.artifact import manifest
from wsdarts_registry.publishing import training_record

CONFIG_FILE, RESULT_FILE = training_record.RUN_CONFIG, training_record.RUN_RESULT
GENOTYPE_FILE, CELLS_FILE = manifest.GENOTYPE, manifest.PICTURE
ARTIFACT_FOLDER = training_record.RUN_ARTIFACT
ENVIRONMENT_FILE = "environment.json"
CHOICE_FILE = "choice.json"
COSTS_FILE = "costs.json"
DECISION_FILE = "decision.json"
EMBEDDING_FILE = "embedding.safetensors"
MODEL_FILE = "model.safetensors"
REPORT_FILE = "report.json"
REPORT_PAGE = "report.html"
EVALUATION_PAGE = "evaluation.html"
SWEEP_FILE = "sweep.db"
CHECKPOINT_SUFFIX = ".checkpoint.safetensors"
METRICS_SUFFIX = ".metrics.jsonl"
SEARCH_JOURNAL = "search"
SELECTION_JOURNAL = "selection"
CHOICE_JOURNAL = "choice"
TRAINING_JOURNAL = "training"
BASELINE_JOURNAL = "baseline"

ROLL_BACKS = "roll_backs"
"""Fact of a checkpoint and field of a row: how often the run has been rolled back, if it has."""
