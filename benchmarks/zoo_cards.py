"""Write cards and measured figures of the shipped zoo anew, and leave everything else as it is.

    python benchmarks/zoo_cards.py

For a zoo that was published before cards said what they say today, or before its transfer gains
were measured (``python benchmarks/experiments run inheritance``, whose results say them). The
accuracy of a random cell is that of ``benchmarks/results/zoo``. Each card names its neighbours
among all the others, since they are published together. The digests change, as the manifests name
the cards; weights, masks, genotypes and embeddings keep every byte.
"""

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent / "experiments"))

from measure import RESULTS
from transfer import transfer_figures

from wsdarts_registry.artifact.facts import RANDOM_CELL_ACCURACY
from wsdarts_registry.artifact.manifest import WEIGHTS, Manifest, same_but_for_card
from wsdarts_registry.artifact.reader import read_artifact
from wsdarts_registry.artifact.writer import rewrite_artifact
from wsdarts_registry.publishing.publication import new_card_files
from wsdarts_registry.stores.directory import DirectoryStore
from wsdarts_registry.stores.records import shipped_zoo


def main() -> None:
    """Rewrite the cards of a registry in place."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--zoo", type=Path, default=shipped_zoo())
    zoo = parser.parse_args().zoo
    renew_cards(zoo)
    for entry in DirectoryStore(zoo).entries():
        print(f"{entry.reference}: {entry.digest}")


def with_transfer_gain(manifest: Manifest, name: str, *, left_out: str | None = None) -> Manifest:
    """Return a manifest with the transfer gain that was measured of its weights, if any.

    Args:
        manifest: Of an artifact of the zoo.
        name: Its name.
        left_out: A set whose figures take no part.
    """
    known = {k: v for k, v in manifest.metrics.items() if not k.startswith("transfer_")}
    gained = transfer_figures(name, left_out=left_out) if WEIGHTS in manifest.files else {}
    metrics = {**known, **gained}
    return manifest.model_copy(update={"metrics": metrics})


def with_random_cell(manifest: Manifest, name: str) -> Manifest:
    """Return a manifest with the accuracy of a random cell beside that of its own, if measured."""
    file = RESULTS / "zoo" / f"{name}-{manifest.provenance.seed}.json"
    found = json.loads(file.read_bytes()) if file.exists() else {}
    if found.get("created") != manifest.provenance.created or "random_cell" not in found:
        return manifest
    metrics = {**manifest.metrics, RANDOM_CELL_ACCURACY: found["random_cell"]}
    return manifest.model_copy(update={"metrics": metrics})


def renew_cards(zoo: Path) -> None:
    """Write card and picture of every version anew, all or none.

    Raises:
        SystemExit: Something else than card and picture would change.
    """
    store = DirectoryStore(zoo, read_only=True)
    store.accept_state()  # whoever runs this may have replaced artifacts
    with tempfile.TemporaryDirectory() as temporary:
        made = {}
        for entry in store.entries(include_yanked=True):
            artifact = store.pull(entry.reference)
            manifest = entry.manifest
            if entry.yanked is None:  # the latest, whose weights were measured
                manifest = with_random_cell(with_transfer_gain(manifest, entry.name), entry.name)
            files = new_card_files(artifact, manifest, store, store, entry.name)
            target = Path(temporary) / entry.name / f"v{entry.version}"
            rewrite_artifact(artifact, target, manifest=manifest, replaced=files)
            if not same_but_for_card(read_artifact(target).manifest, manifest):
                raise SystemExit(f"{entry.reference} would change; nothing was written")
            made[store.path(entry.name, entry.version)] = target
        for place, target in made.items():
            shutil.rmtree(place)
            shutil.copytree(target, place)
    store.accept_state()


if __name__ == "__main__":
    main()
