"""Write the cards of the shipped zoo anew, and leave everything else in it as it is.

    python benchmarks/zoo_cards.py

For a zoo that was published before cards said what they say today. Each card names its neighbours
among all the others, since they are published together. The digests change, as the manifests name
the cards; weights, masks, genotypes and embeddings keep every byte.
"""

import argparse
import shutil
import tempfile
from pathlib import Path

from wsdarts_registry.artifact.manifest import same_but_for_card
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
            files = new_card_files(artifact, entry.manifest, store, store, entry.name)
            target = Path(temporary) / entry.name / f"v{entry.version}"
            rewrite_artifact(artifact, target, manifest=entry.manifest, replaced=files)
            if not same_but_for_card(read_artifact(target).manifest, entry.manifest):
                raise SystemExit(f"{entry.reference} would change; nothing was written")
            made[store.path(entry.name, entry.version)] = target
        for place, target in made.items():
            shutil.rmtree(place)
            shutil.copytree(target, place)
    store.accept_state()


if __name__ == "__main__":
    main()
