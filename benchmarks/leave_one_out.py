"""A registry without what was searched on one task: artifacts, λ_meta, and thresholds for near."""

import json
import shutil
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from measure import RESULTS
from six_sets import near_threshold
from zoo_cards import with_transfer_gain

from wsdarts_registry.artifact.reader import Artifact
from wsdarts_registry.artifact.writer import rewrite_artifact
from wsdarts_registry.errors import RegistryWarning
from wsdarts_registry.stores.directory import DirectoryStore
from wsdarts_registry.stores.opening import ShippedZoo
from wsdarts_registry.stores.records import Entry, shipped_zoo
from wsdarts_registry.stores.store import Store
from wsdarts_sdk.data.task import ImageTask

_CONFIG = "registry.json"


def registry_without(task: ImageTask, path: Path) -> DirectoryStore:
    """Copy the shipped zoo without a task.

    Left out are all artifacts that were searched on the task, a λ_meta that has it among its parts
    too, its distances in the thresholds for "near", and what others gained on it.

    Args:
        task: One of the six sets.
        path: Directory of the copy; what is there is replaced.
    """
    shutil.rmtree(path, ignore_errors=True)
    zoo = ShippedZoo()
    with warnings.catch_warnings():
        # The copy before this one is gone, as it should be.
        warnings.simplefilter("ignore", RegistryWarning)
        store = DirectoryStore(path, create=True)
    config = json.loads((shipped_zoo() / _CONFIG).read_bytes())
    config["near"] = [_without(record, task.name) for record in config["near"]]
    (path / _CONFIG).write_text(json.dumps(config, sort_keys=True) + "\n")
    for entry in zoo.entries():
        if task.digest not in {record.digest for record in entry.manifest.tasks}:
            _publish_without(zoo.pull(entry.reference), entry, task.name, store)
    return DirectoryStore(path)


def _publish_without(artifact: Artifact, entry: Entry, left_out: str, store: Store) -> None:
    """Publish an artifact whose transfer gain takes no account of the set that is left out."""
    manifest = with_transfer_gain(entry.manifest, entry.name, left_out=left_out)
    if manifest == entry.manifest:
        store.publish(artifact.directory, entry.name, entry.version)
        return
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary) / "artifact"
        rewrite_artifact(artifact, copy, manifest=manifest, replaced={})
        store.publish(copy, entry.name, entry.version)


def _without(record: Mapping[str, Any], left_out: str) -> dict[str, Any]:
    """Return a threshold of ``registry.json`` as the other sets alone would have given it."""
    files = sorted(RESULTS.glob("task_distances_*.json"))
    known = [json.loads(file.read_bytes())["whole"] for file in files]
    found = next(whole for whole in known if whole["space"] == record["space"])
    distance = near_threshold(found["names"], found["matrix"], left_out=left_out)
    sets = len(found["names"]) - (left_out in found["names"])
    measured = f"largest distance of {sets} image sets to their nearest other, without {left_out}"
    return {**record, "distance": distance, "measured": measured}
