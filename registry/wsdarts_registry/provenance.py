"""How an artifact came to be, as people read it."""

from wsdarts_registry.amounts import duration
from wsdarts_registry.manifest import Provenance


def provenance_facts(made: Provenance) -> list[tuple[str, str]]:
    """When, where and by what it was made, each fact with its name."""
    return [
        ("created", made.created),
        ("seed", str(made.seed)),
        ("wall time", duration(made.seconds)),
        ("hardware", made.hardware),
        ("code", made.code_version),
        ("libraries", ", ".join(f"{n} {v}" for n, v in sorted(made.libraries.items()))),
    ]
