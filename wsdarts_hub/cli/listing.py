"""Commands that show all of a registry: ``list``, ``gallery build`` and ``gallery serve``."""

import re
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

import wsdarts_hub as hub
from wsdarts_hub.cli.shared import display, options
from wsdarts_hub.cli.shared.long_work import working
from wsdarts_registry._format import (
    count,
    duration,
    millions,
    percent_if_known,
    points,
    size,
)

if TYPE_CHECKING:
    from wsdarts_registry.stores.query import EntryFacts, Range, Shares
    from wsdarts_registry.stores.records import DamagedVersion

_SHOWN = 60
_FULL_SIZE, _AS_TRAINED = "parameters at full size", "parameters as trained"
_OPTIONAL = (_AS_TRAINED, "probe", "created", "size", "kind")  # on a narrow terminal
_SHOWN_WITH_ORDER = {
    "search": "cost",
    _FULL_SIZE: "parameters",
    "alpha-accuracy": "alpha-accuracy",
}
_FIGURES = ("accuracy", "baseline", "gain", "transfer gain", _AS_TRAINED, *_SHOWN_WITH_ORDER)
_RANGE = re.compile(r"([0-9]{1,15})?(\.\.)?([0-9]{1,15})?")

KindOption = Annotated[
    Literal["transfer", "meta-transfer"] | None,
    typer.Option(help="Artifacts of this kind.", show_default=False),
]
TaskOption = Annotated[
    str | None, options.value_option("TEXT", "Artifacts with a task whose name contains this.")
]
ProbeNameOption = Annotated[
    str | None,
    options.value_option(
        "TEXT", "Artifacts with an embedding by a probe whose name contains this."
    ),
]
ClassesOption = Annotated[
    str | None,
    options.value_option("MIN..MAX", "Number of classes of the tasks: 10..100, 10.., ..100 or 10."),
]
ImagesOption = Annotated[
    str | None, options.value_option("MIN..MAX", "Number of images of the tasks, in the same form.")
]
AccuracyOption = Annotated[
    str | None,
    options.value_option(
        "MIN..MAX", "Accuracy of a trained network with its cells in %, in the same form."
    ),
]
OperationOption = Annotated[
    str | None,
    options.value_option(
        "NAME", "Artifacts whose genotype uses this operation, such as sep_conv_3x3."
    ),
]
SignedOption = Annotated[
    bool, typer.Option("--signed", help="Signed artifacts, by any key; `verify` checks the key.")
]
SinceOption = Annotated[
    str | None,
    options.value_option(
        "DATE", "Artifacts created then or later: 2026-01-31 or 2026-01-31T12:00:00Z."
    ),
]
YankedOption = Annotated[
    bool, typer.Option("--yanked", help="List yanked versions as well, with the reason.")
]
SortOption = Annotated[
    Literal[
        "name",
        "created",
        "images",
        "classes",
        "size",
        "accuracy",
        "gain",
        "transfer-gain",
        "cost",
        "parameters",
        "alpha-accuracy",
    ],
    typer.Option(
        help="Order, smallest or oldest first; accuracy is that of a trained network, gain its "
        "difference to the linear baseline, transfer-gain how much better it was than other "
        "artifacts as a source for other image sets, cost the time of the search, "
        "parameters those of the network at full size (20 cells, 16 channels), not of the "
        "trained one."
    ),
]
ReverseOption = Annotated[bool, typer.Option("--reverse", help="Reverse the order.")]
LimitOption = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="At most so many.", show_default=False)
]


def list_artifacts(
    *,
    registry: options.RegistryOption = None,
    kind: KindOption = None,
    task: TaskOption = None,
    probe: ProbeNameOption = None,
    classes: ClassesOption = None,
    images: ImagesOption = None,
    accuracy: AccuracyOption = None,
    operation: OperationOption = None,
    signed: SignedOption = False,
    since: SinceOption = None,
    yanked: YankedOption = False,
    sort: SortOption = "name",
    reverse: ReverseOption = False,
    limit: LimitOption = None,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """List the artifacts of a registry.

    The list has the artifacts that meet all conditions, and all damaged ones, for which the
    conditions cannot be checked. In order of names, --limit ends it before later damaged ones.

    With --accuracy, or in order of accuracy or parameters, there is a column for the parameters of
    the network as it was trained; the one at full size has more.

    JSON: an array of objects
        reference: exact version
        name: name of the artifact
        version: its number
        digest: sha256 of its manifest
        kind: transfer or meta-transfer
        tasks: names of its datasets
        images: number of images of all tasks
        classes: number of classes of all tasks
        probes: the probes of its embeddings
        created: time of its creation
        bytes: size of its files
        weights: whether it has weights of a supernet
        license: as its author wrote it
        description: as its author wrote it
        metrics: figures of the search and of a training
        lineage: mode and parents
        status: yank, aliases, and whether it is signed
        damaged: description of the damage, with null for most other keys; else null

    Example:
        wsdarts-hub list --classes 10..100 --sort gain --reverse

    Python:
        from wsdarts_hub import find
        for entry in find(classes=(10, 100), sort="gain", reverse=True):
            print(entry.reference, entry.manifest.kind)
        smallest = find(accuracy=(0.5, None), sort="parameters", limit=1)  # at full size
    """
    from wsdarts_registry.stores.query import EntryFacts, damaged_json, find  # noqa: PLC0415

    store = hub.open_registry(registry)
    damaged: list[DamagedVersion] = []
    entries = find(
        registry=store,
        kind=kind,
        task=task,
        probe=probe,
        classes=_range("--classes", classes),
        images=_range("--images", images),
        accuracy=_shares("--accuracy", accuracy),
        operation=operation,
        since=since,
        signed=signed,
        yanked=yanked,
        sort=sort,
        reverse=reverse,
        limit=limit,
        damaged=damaged.append,
    )
    store.warn_damaged(damaged)
    found = [EntryFacts(entry=entry) for entry in entries]
    if as_json:
        data = [*(facts.to_json() for facts in found), *map(damaged_json, damaged)]
        display.json_data(data)
    elif quiet:
        for entry in entries:
            display.line(str(entry.reference))
    elif found or damaged:
        trained = accuracy is not None or sort in ("accuracy", "parameters")
        _show(found, damaged, sort, trained=trained)
    elif store.names():
        display.line(f"nothing fits; `wsdarts-hub list{store.option}` lists all")
    else:
        display.line(f"{store.location} has no artifacts yet; publish one with `wsdarts-hub push`")


def _show(
    found: "Sequence[EntryFacts]", damaged: "Sequence[DamagedVersion]", sort: str, *, trained: bool
) -> None:
    headers = ["reference", "kind", "tasks", "images", "classes", "probe", "created", "size"]
    rows = [_row(facts) for facts in found]
    rows += [
        [str(version.reference), version.word, *[""] * (len(headers) - 2)] for version in damaged
    ]
    more = _columns_of_figures(found, trained=trained)
    more = {header: [*cells, *[""] * len(damaged)] for header, cells in more.items()}
    for header, order in _SHOWN_WITH_ORDER.items():
        if sort != order:
            del more[header]
    statuses = [f.entry.status for f in found] + [version.status for version in damaged]
    more |= {
        "aliases": [", ".join(status.aliases) for status in statuses],
        "signed": ["yes" if status.signed else "" for status in statuses],
        "yanked": [status.yanked.reason if status.yanked else "" for status in statuses],
    }
    for header, cells in more.items():
        if any(cells):
            headers.append(header)
            for row, cell in zip(rows, cells, strict=True):
                row.append(cell)
    display.table(
        headers,
        rows,
        right=("images", "classes", "size", *_FIGURES),
        whole=("reference", "kind", "created", *_FIGURES),
        # What is damaged is told by the kind.
        optional=[h for h in _OPTIONAL if h != sort and not (damaged and h == "kind")],
        spare=[header for header in ("classes", "images") if header != sort],
    )
    if _FULL_SIZE in headers:
        display.note(
            f"({_FULL_SIZE}: of the network of 20 cells and 16 channels, not the trained one)"
        )


def _columns_of_figures(found: "Sequence[EntryFacts]", *, trained: bool) -> dict[str, list[str]]:
    """Return the cells of the columns that stand there only where there is something in them."""
    return {
        "accuracy": [percent_if_known(facts.accuracy) for facts in found],
        "baseline": [
            percent_if_known(facts.result.baseline if facts.result else None) for facts in found
        ],
        "gain": [_points(facts.gain) for facts in found],
        "transfer gain": [_points(facts.transfer_gain) for facts in found],
        _AS_TRAINED: [
            count(facts.result.parameters)
            if trained and facts.result and facts.result.parameters is not None
            else ""
            for facts in found
        ],
        "search": [duration(facts.entry.manifest.provenance.seconds) for facts in found],
        _FULL_SIZE: [_size(facts.parameters) for facts in found],
        "alpha-accuracy": [percent_if_known(facts.alpha_accuracy) for facts in found],
    }


def _points(value: float | None) -> str:
    return "" if value is None else points(value)


def _size(parameters: int | None) -> str:
    return "" if parameters is None else millions(parameters)


def _row(facts: "EntryFacts") -> list[str]:
    manifest = facts.entry.manifest
    return [
        str(facts.entry.reference),
        manifest.kind,
        _listed([task.name for task in manifest.tasks]),
        count(facts.images),
        count(facts.classes),
        _listed(facts.probes),
        facts.created[:10],
        size(facts.size),
    ]


def _listed(names: Sequence[str]) -> str:
    text = ", ".join(names)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def _shares(option: str, text: str | None) -> "Shares":
    """Return such bounds in percent as shares."""
    low, high = _range(option, text)
    return None if low is None else low / 100, None if high is None else high / 100


def _range(option: str, text: str | None) -> "Range":
    """Return the bounds of ``10..100``, ``10..``, ``..100`` or ``10``, which is both."""
    if text is None:
        return None, None
    match = _RANGE.fullmatch(text)
    if match is None or not (match[1] or match[3]) or (match[3] and not match[2]):
        raise typer.BadParameter(f"{option} {text[:40]}: expected 10..100, 10.., ..100 or 10")
    smallest = int(match[1]) if match[1] else None
    largest = int(match[3]) if match[3] else None if match[2] else smallest
    if smallest is not None and largest is not None and smallest > largest:
        raise typer.BadParameter(f"{option} {text}: nothing lies between; swap the two")
    return smallest, largest


def build_gallery(
    *,
    registry: options.RegistryOption = None,
    out: Annotated[
        Path,
        options.value_option(
            "DIR", "New or empty directory, or an older gallery, which is replaced."
        ),
    ],
    docs: Annotated[
        str | None, options.value_option("URL", "Address of the documentation, for a link.")
    ] = None,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Write a registry as a static site.

    The site works from a disk and on any web server, and loads nothing from other machines.

    JSON:
        page: the first page of the site

    Example:
        wsdarts-hub gallery build --out site

    Python:
        from wsdarts_hub import build_gallery
        print(build_gallery(out="site"))
    """
    with working(quiet=quiet) as work:
        page = hub.build_gallery(registry, out=out, docs=docs, progress=work.progress)
    if as_json:
        display.json_data({"page": page})
        return
    display.line(str(page))


def serve_gallery(
    directory: Annotated[
        Path | None,
        typer.Argument(
            metavar="DIR",
            help="A gallery by `gallery build`. Without it, one of the registry is built.",
            show_default=False,
        ),
    ] = None,
    *,
    registry: options.RegistryOption = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="N", help="Port; 0 takes a free one.")
    ] = 8000,
    quiet: options.QuietOption = False,
) -> None:
    """Show a gallery in the browser of this machine, until Ctrl-C.

    Other machines on the network cannot reach it.

    Example:
        wsdarts-hub gallery serve --port 8080

    Python:
        from wsdarts_hub import build_gallery, serve_gallery
        build_gallery(out="site")
        serve_gallery("site", port=8080)
    """
    if directory is not None and registry is not None:
        raise typer.BadParameter("name a gallery or a registry, not both")
    with tempfile.TemporaryDirectory(prefix="wsdarts-gallery-") as temporary:
        with working(quiet=quiet) as work:
            if directory is None:
                directory = Path(temporary) / "site"
                hub.build_gallery(registry, out=directory, progress=work.progress)
        with suppress(KeyboardInterrupt):
            hub.serve_gallery(directory, port=port, started=display.line)
