"""Arguments and options that several commands share, with their shell completion.

Completion asks directories alone, never a network, and proposes nothing where one cannot be read.
"""

import inspect
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from wsdarts_registry.errors import SettingsError

if TYPE_CHECKING:
    from wsdarts_registry.stores.signature_policy import SignaturePolicy
    from wsdarts_registry.stores.store import Store
    from wsdarts_sdk.data.options import DataOptions
    from wsdarts_sdk.presets import Preset


def value_option(metavar: str, help: str, *names: str, **more: Any) -> Any:  # noqa: A002
    """Return an option that takes a value and whose help shows no default.

    Args:
        metavar: What stands for the value in the help.
        help: What it is, as a sentence.
        names: Such as ``"--license"``; that of the parameter by default.
        more: Further arguments of ``typer.Option``.
    """
    return typer.Option(*names, metavar=metavar, help=help, show_default=False, **more)


def complete_name(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the names of the registry that begin so."""
    return _proposed(ctx, incomplete, exact=False, references=False)


def complete_reference(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return names and aliases that begin so; behind an @ versions, too."""
    return _proposed(ctx, incomplete, exact=False)


def complete_exact_reference(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the versions that begin so, the yanked ones among them."""
    return _proposed(ctx, incomplete, exact=True)


def _proposed(
    ctx: typer.Context, incomplete: str, *, exact: bool, references: bool = True
) -> list[str]:
    from wsdarts_registry.errors import WsdartsError  # noqa: PLC0415
    from wsdarts_registry.stores.opening import REGISTRY_VARIABLE, open_registry  # noqa: PLC0415

    location = ctx.params.get("registry") or os.environ.get(REGISTRY_VARIABLE)
    if location and "://" in location:
        return []
    try:
        store = open_registry(location)
        name = incomplete.partition("@")[0]
        names = [known for known in store.names() if known.startswith(name)]
        if not references:
            return names
        behind = "@" in incomplete
        found = (r for known in names for r in _references(store, known, exact, behind))
        return [reference for reference in found if reference.startswith(incomplete)]
    except (WsdartsError, OSError):
        return []


def _references(store: "Store", name: str, exact: bool, behind: bool) -> Iterator[str]:
    versions = store.versions(name)
    if not exact and any(info.yanked is None for info in versions):
        yield name
    if not exact:
        hidden = {info.version for info in versions if info.yanked}
        for alias, version in sorted(store.aliases(name).items()):
            if version not in hidden:
                yield f"{name}@{alias}"
    if exact or behind:
        for info in versions:
            yield f"{name}@{info.version}"


Mode = Literal["auto", "topology", "trained", "meta", "union", "cold"]
Estimator = Literal["fisher", "variational"]
PresetName = Literal["paper", "medium", "small", "tiny"]
DataArgument = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="Folder of class folders, parquet file, hf:NAME or torchvision:NAME.",
        show_default=False,
    ),
]
ReferenceArgument = Annotated[
    str,
    typer.Argument(
        metavar="REF",
        help="NAME, NAME@3, an alias such as NAME@stable, or NAME@sha256:HEX; or with its "
        "registry, hf://OWNER/NAME@3.",
        autocompletion=complete_reference,
        show_default=False,
    ),
]
ExactReferenceArgument = Annotated[
    str,
    typer.Argument(
        metavar="REF",
        help="Exact version: NAME@3 or NAME@sha256:HEX.",
        autocompletion=complete_exact_reference,
        show_default=False,
    ),
]
NameArgument = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="Name of the artifact.",
        autocompletion=complete_name,
        show_default=False,
    ),
]
ReasonOption = Annotated[str, value_option("TEXT", "Why; shown with the version.")]
QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print the result alone, without progress.")
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print the result as JSON; progress stays on stderr.")
]
RegistryOption = Annotated[
    str | None,
    value_option(
        "DIR|hf://OWNER",
        "Directory of the registry, or a user or an organisation on the Hugging Face Hub. "
        "Without it the environment variable WSDARTS_HUB_REGISTRY, else the zoo that comes with "
        "the package.",
    ),
]
ProbeOption = Annotated[
    str | None,
    value_option(
        "PROBE",
        "Probe network: shipped, timm:NAME, FILE.safetensors or NAME=FILE.safetensors. "
        "The shipped one by default; another one that a registry names has to be given here.",
    ),
]
EstimatorOption = Annotated[
    Estimator | None,
    value_option(
        "fisher|variational",
        "Estimator of the Fisher information: by per-image gradients, or by variational "
        "inference. Only embeddings by the same estimator can be compared. fisher by default.",
    ),
]
BudgetOption = Annotated[
    str | None,
    value_option(
        "TIME",
        "Add no more images after this time: 30s, 2m or a number of seconds. "
        "The embedding records their number.",
    ),
]
TargetErrorOption = Annotated[
    float | None,
    value_option(
        "X", "Add no more images once the relative standard error is at most this, such as 0.05."
    ),
]
NeighboursOption = Annotated[
    int, typer.Option("-k", min=1, metavar="N", help="Number of neighbours.")
]
DeviceOption = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="cpu, cuda or cuda:N. CUDA if there is one by default."),
]
SeedOption = Annotated[
    int | None,
    typer.Option(min=0, metavar="N", help="Random seed. The preset's by default."),
]
PresetOption = Annotated[
    PresetName,
    typer.Option(
        help="Settings: paper (a GPU for hours), medium (a GPU for half an hour, a CPU for a "
        "night), small (CPU, up to an hour), tiny (about a minute)."
    ),
]
EpochsOption = Annotated[
    int | None, value_option("N", "Epochs over the train part, training.epochs.")
]
LearningRateOption = Annotated[
    float | None, value_option("X", "Initial learning rate, training.learning_rate.")
]
BatchSizeOption = Annotated[
    int | None, value_option("N", "Images in a batch, training.batch_size.")
]
ImageSizeOption = Annotated[
    int | None, value_option("N", "Image size in pixels, training.image_size.")
]
PatienceOption = Annotated[
    int | None,
    value_option(
        "N",
        "Stop after N epochs without improvement on images that are not trained on, and keep the "
        "weights of the best epoch, training.patience.",
    ),
]
NoFlipOption = Annotated[
    bool,
    typer.Option(
        "--no-flip",
        help="Mirror no images, in search and training: for digits, letters, traffic signs.",
    ),
]
SetOption = Annotated[
    list[str] | None,
    value_option(
        "KEY=VALUE",
        "Change a setting of the preset, such as search.channels=8 or "
        "search.stages.2.epochs=5 (stages count from 1). May be repeated.",
        "--set",
    ),
]
OutOption = Annotated[
    Path | None,
    value_option("RUN", "The run directory. The first free one in runs/ by default.", "--out"),
]
CandidatesOption = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Candidates that are trained briefly to choose a genotype among them, "
        "choice.candidates; with 1 α decides.",
        show_default=False,
    ),
]
MaxParametersOption = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Most parameters of the network to be trained, choice.max_parameters.",
        show_default=False,
    ),
]
MaxMultiplyAddsOption = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Most multiply-adds that it needs for an image, choice.max_multiply_adds.",
        show_default=False,
    ),
]
DryRunOption = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Time a few real steps or images, estimate time, memory and disk of the whole run, "
        "and write no result.",
    ),
]
ResumeOption = Annotated[
    bool, typer.Option("--resume", help="Continue the run in --out, or start it if there is none.")
]
RequireSignatureOption = Annotated[
    list[Path] | None,
    value_option(
        "KEY",
        "Refuse artifacts that the owner of this public key has not signed under their name and "
        "version. May be repeated: one of the keys suffices.",
        "--require-signature",
    ),
]
PolicyOption = Annotated[
    Path | None,
    value_option(
        "FILE",
        "Policy with the signatures that artifacts need. Without it the file that the environment "
        "variable WSDARTS_HUB_POLICY names, else your own policy.json if there is one.",
        "--policy",
    ),
]


def _declared(
    *,
    image_column: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Column of a table that holds the images."),
    ] = None,
    label_column: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Column of a table that holds the labels."),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Splits of a dataset to join and to split here, such as train+test. By default "
            "files keep a split of their own, and the splits of a Hub or torchvision dataset are "
            "joined; given keeps these as the parts of their names.",
        ),
    ] = None,
    split_column: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Column of a table, or of the metadata of a folder, with the part of "
            "each image: train, validation or test.",
        ),
    ] = None,
    validation: Annotated[
        str | None,
        typer.Option(
            metavar="DATA", help="Another dataset of the same classes, as the validation part."
        ),
    ] = None,
    test: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="Another dataset of the same classes, as the test part."),
    ] = None,
    groups: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Column of a table, or of the metadata of a folder, with the group of each "
            "image, such as a patient; each group is in one part of the split.",
        ),
    ] = None,
    skip_corrupt: Annotated[
        bool,
        typer.Option(
            "--skip-corrupt", help="Leave out images that cannot be decoded, and list them."
        ),
    ] = False,
) -> None:
    """Declare the options of reading a dataset: only the signature counts."""


READING = tuple(inspect.signature(_declared).parameters.values())


def reads_data(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of reading a dataset in place of its parameter ``reading``.

    It gets those that were given, as ``DataOptions`` of the SDK.
    """
    own = inspect.signature(command).parameters
    place = list(own).index("reading")
    others = [parameter for name, parameter in own.items() if name != "reading"]

    @wraps(command)
    def call(*args: Any, **values: Any) -> None:
        given = {p.name: values.pop(p.name) for p in READING if p.name in values}
        reading = {name: value for name, value in given.items() if value not in (None, False)}
        command(*args, **values, reading=reading)

    parameters = [*others[:place], *READING, *others[place:]]
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {p.name: p.annotation for p in parameters}
    return call


def as_typed(reading: "DataOptions") -> list[str]:
    """Return options of reading as words of a command line."""
    words = []
    for name, value in reading.items():
        words += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
    return words


def required_signature(
    require_signature: list[Path] | None, policy: Path | None
) -> "SignaturePolicy | None":
    """Return the policy that the two options ask for; None for the user's own.

    Raises:
        SettingsError: Both are given.
        SignatureError: The policy cannot be read.
    """
    from wsdarts_registry.stores.signature_policy import SignaturePolicy  # noqa: PLC0415

    if require_signature and policy is not None:
        raise SettingsError(
            "--require-signature and --policy both say whose signature is needed",
            hint="give one of them",
        )
    if require_signature:
        return SignaturePolicy.of_keys(*require_signature)
    return None if policy is None else SignaturePolicy.load(policy)


def choice_options(
    candidates: int | None, max_parameters: int | None, max_multiply_adds: int | None
) -> dict[str, tuple[str, object]]:
    """Return the options of a choice as ``preset_with`` takes short ones."""
    return {
        "--candidates": ("choice.candidates", candidates),
        "--max-parameters": ("choice.max_parameters", max_parameters),
        "--max-multiply-adds": ("choice.max_multiply_adds", max_multiply_adds),
    }


def preset_with(
    name: str,
    assignments: Sequence[str] | None,
    *,
    no_flip: bool = False,
    short: Mapping[str, tuple[str, object]] | None = None,
    without: Mapping[str, str] | None = None,
) -> "Preset":
    """Return the preset of that name with some settings changed.

    Args:
        name: Name of the preset.
        no_flip: Whether no images are mirrored, in search and training.
        short: Settings with an option of their own: by option the setting and the value, None
            where it was not given.
        assignments: ``KEY=VALUE`` each, as for ``wsdarts_sdk.setting_fields.changed``. Of one
            key given twice the last counts.
        without: Parts of the preset that have no effect, each with the reason.

    Raises:
        SettingsError: A key or a value does not fit, or the settings contradict each other.
    """
    from wsdarts_sdk.presets import FLIPPED, find_preset  # noqa: PLC0415
    from wsdarts_sdk.setting_fields import changed  # noqa: PLC0415

    texts = {}
    for assignment in assignments or ():
        key, sign, value = (part.strip() for part in assignment.partition("="))
        reason = (without or {}).get(key.partition(".")[0])
        if reason is not None:
            raise SettingsError(f"--set {key} has no effect here: {reason}", hint="leave it out")
        if not sign:
            raise SettingsError(
                f"--set {assignment} has no value", expected="KEY=VALUE, such as search.channels=8"
            )
        texts[key] = value
    given = [
        (f"{option} {number}", key, str(number))
        for option, (key, number) in (short or {}).items()
        if number is not None
    ]
    if no_flip:
        given += [("--no-flip", f"{group}.flip", "no") for group in FLIPPED]
    for option, key, text in given:
        if key in texts:
            raise SettingsError(
                f"{option} and --set {key}={texts[key]} both set {key}",
                hint=f"give one of them; {option} is short for --set {key}={text}",
            )
        texts[key] = text
    return changed(find_preset(name), texts)
