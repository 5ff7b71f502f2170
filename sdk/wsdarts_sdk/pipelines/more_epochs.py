"""A finished training that goes on with more epochs, in the run directory that it has."""

from pathlib import Path
from typing import Any

from wsdarts_sdk.models.training import ENDED_FACT, EPOCHS_FACT
from wsdarts_sdk.runs.file_names import CHECKPOINT_SUFFIX, TRAINING_JOURNAL
from wsdarts_sdk.runs.journal import Checkpoint


def has_more_epochs(path: Path, there: dict[str, Any], here: dict[str, Any]) -> bool:
    """Return whether a run is a finished training, and more epochs are all that is asked anew.

    Args:
        path: The run directory.
        there: The configuration that it has, all of it or the part that is known.
        here: The one that is asked for.
    """
    was, now = there.get("training"), here.get("training")
    if not isinstance(was, dict) or not isinstance(now, dict):
        return False
    before, epochs = was.get("epochs"), now.get("epochs")
    if not isinstance(before, int) or not isinstance(epochs, int) or epochs <= before:
        return False
    if {**there, "training": {**was, "epochs": epochs}} != here:
        return False
    facts = Checkpoint.facts_of(path / f"{TRAINING_JOURNAL}{CHECKPOINT_SUFFIX}")
    return facts.get(EPOCHS_FACT) == before and facts.get(ENDED_FACT) is True
