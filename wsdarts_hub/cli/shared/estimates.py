"""Output of ``--dry-run``."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from wsdarts_hub.cli.shared import display
from wsdarts_registry._format import count, duration, size

if TYPE_CHECKING:
    from wsdarts_sdk.pipelines.dry_runs import Estimate


def show_estimate(found: "Estimate", *, as_json: bool = False) -> None:
    """Print what a command will take."""
    if as_json:
        display.json_data(
            {
                "seconds": found.seconds,
                "steps": found.steps,
                "memory": found.memory,
                "disk": found.disk,
                "note": found.note or None,
                "phases": [asdict(phase) for phase in found.phases],
            }
        )
        return
    display.heading("estimate, from a few steps or images on this machine")
    rows = [(p.phase, count(p.steps), count(p.images), p.seconds) for p in found.phases]
    shown = {"phase": [row[0] for row in rows]}
    for place, name in ((1, "steps"), (2, "images")):
        if any(row[place] != "0" for row in rows):
            shown[name] = ["" if row[place] == "0" else str(row[place]) for row in rows]
    shown["time"] = [f"about {duration(row[3])}" for row in rows]
    display.table(tuple(shown), list(zip(*shown.values(), strict=True)), right=("steps", "images"))
    display.facts(
        [
            ("total", f"about {duration(found.seconds)}"),
            ("memory", f"about {size(found.memory)}"),
            ("disk", f"about {size(found.disk)}"),
        ]
    )
    if found.note:
        display.sentence(found.note)
