"""An artifact whose every text is hostile, as far as the format lets it be."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.registry.factories import (
    digest_of,
    make_draft,
    make_embedding,
    make_genotype,
    make_masks,
    make_ranked,
    make_space,
)
from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.architecture.search_space import SearchSpace
from wsdarts_registry.artifact.manifest import Lineage, Parent, TaskRecord
from wsdarts_registry.artifact.writer import write_artifact

# What a line may hold: no control character, and yet much that acts somewhere.
LINE = (
    "<script>alert(1)</script><img src=x onerror=alert(2)> "
    "![x](https://evil.example/x.png)[y](javascript:alert(3)) https://evil.example "
    "a|b `c` **d** {{ 7*7 }} ```\u0915\u200d\u0937\u2620\ufe0f&#x202e; # - ---"
)
SHORT = "<svg/onload=alert(1)>|`|```|[x](http://evil.example)|"
# What JSON text may hold: everything.
TEXT = f"\x1b[2J\x1b]8;;http://evil.example\x07\x9b31m\u202e\u2066\r\n---\nlicense: mit\n{LINE}"
LONG = "y" * 10_000
SPACE = SearchSpace(nodes=2, candidates=("none", SHORT, f"{SHORT}2"))


def make_hostile(directory: Path, digest: str = "x") -> Path:
    """Write the artifact; ``digest`` stands for the content of its task."""
    masks = make_masks(SPACE)
    draft = make_draft(weights=False)
    provenance = draft.provenance.model_copy(
        update={"code_version": LINE, "hardware": LINE, "libraries": {LINE: LINE}}
    )
    task = TaskRecord(name=LINE, digest=digest_of(digest), images=9, classes=3)
    embedding = replace(make_embedding(digest, space=hostile_space()), task_name=LINE)
    changed = replace(
        draft,
        tasks=[task],
        genotype=make_genotype(SPACE),
        ranked=make_ranked(masks),
        stage_masks=[OperationMasks.full(SPACE), masks],
        embeddings=[embedding],
        provenance=provenance,
        config={
            TEXT: TEXT,
            "preset": TEXT,
            "order": TEXT,
            "stages": [TEXT],
            "x": {TEXT: [TEXT]},
            LONG: LONG,
        },
        lineage=Lineage(mode="topology", parents=(Parent(reference=LINE, digest=digest_of("p")),)),
        license=LINE[:200],
        description=(LINE + "\n") * 30 + LONG[:1000],
        # Names of figures are held to a pattern.
        metrics={"a" * 64: 0.5, "script/alert-1": 1e300, "x_accuracy": -1e300},
        files={"README.md": TEXT.encode()},
    )
    write_artifact(directory, changed)
    return directory


def hostile_space() -> Any:
    """An embedding space with hostile names."""
    return replace(make_space(LINE[:150]), estimator=LINE[:150], settings=(("s", LINE[:150]),))
