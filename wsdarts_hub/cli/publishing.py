"""Commands that publish: artifacts, trained models and signatures.

``push``, ``push-model``, ``yank``, ``unyank``, ``copy``, ``keygen`` and ``sign``.
"""

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import wsdarts_hub as hub
from wsdarts_hub.cli.models import ModelArgument, load_model
from wsdarts_hub.cli.shared import display, options
from wsdarts_registry._format import percent

if TYPE_CHECKING:
    from wsdarts_registry.publishing.publication import Copied


def push(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN",
            help="Run directory of a search or a warm start, or an artifact directory.",
            show_default=False,
        ),
    ],
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Name to publish under.", show_default=False)
    ],
    *,
    registry: options.RegistryOption = None,
    version: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Exact version. The next one by default.", show_default=False
        ),
    ] = None,
    license_: Annotated[
        str | None,
        options.value_option(
            "ID",
            "Licence of the artifact, such as cc-by-4.0. That of NAME's latest version by default; "
            '"" for none.',
            "--license",
        ),
    ] = None,
    description: Annotated[
        str | None,
        options.value_option(
            "TEXT",
            'Short description for its card. That of NAME\'s latest version by default; "" for '
            "none.",
        ),
    ] = None,
    sign: Annotated[
        Path | None, options.value_option("KEY", "Sign it with the private key in this file.")
    ] = None,
    training: Annotated[
        Path | None,
        options.value_option(
            "DIR",
            "Run directory of the training whose accuracy is added. The last one that RUN "
            "knows of by default.",
        ),
    ] = None,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Publish a finished run as a new version of a name.

    The directory of the registry is created if it is missing; on the Hugging Face Hub each name is
    a model repository of its own. Versions are write-once: content that is published already is
    not published again.

    The accuracy of a finished training of the cells is added. RUN has a record of the trainings by
    `train RUN`, in any directory; of several the one that finished last is used.

    JSON:
        reference: exact version
        digest: sha256 of its manifest
        accuracy: trained accuracy that it states, or null
        training: directory of the training that was added now, or null
        inherited: licence, description or both where they are an earlier version's
        inherited_from: that version, or null

    Example:
        wsdarts-hub push runs/images images --registry my-zoo

    Python:
        from wsdarts_hub import push
        print(push("runs/images", "images", registry="my-zoo").reference)
    """
    from wsdarts_registry.artifact.facts import TrainedResult  # noqa: PLC0415
    from wsdarts_registry.publishing.publication import publish_run  # noqa: PLC0415

    display.show_transfers(quiet=quiet)
    done = publish_run(
        run,
        name,
        registry=registry,
        version=version,
        license=license_,
        description=description,
        sign=sign,
        training=training,
    )
    entry, result = done.entry, TrainedResult.of(done.entry.manifest)
    if as_json:
        source = done.inherited_from
        display.json_data(
            {
                "reference": str(entry.reference),
                "digest": entry.digest,
                "accuracy": None if result is None else result.accuracy,
                "training": done.training,
                "inherited": done.inherited,
                "inherited_from": None if source is None else str(source.reference),
            }
        )
        return
    display.line(str(entry.reference))
    if quiet:
        return
    facts = [("digest", entry.digest)]
    if result is not None:
        by = "" if done.training is None else f", by {done.training.name}"
        facts.append(("trained accuracy", f"{percent(result.accuracy)}{by}"))
    display.facts(facts)
    if done.note:
        display.note(done.note)


def push_model(
    model: ModelArgument,
    repository: Annotated[
        str,
        typer.Argument(
            metavar="OWNER/NAME", help="Repository on the Hugging Face Hub.", show_default=False
        ),
    ],
    *,
    license_: Annotated[
        str | None,
        options.value_option("ID", "Licence of the model, such as cc-by-4.0.", "--license"),
    ] = None,
    tags: Annotated[
        list[str] | None, options.value_option("TAG", "Further tag. May be repeated.", "--tag")
    ] = None,
    description: Annotated[
        str | None, options.value_option("TEXT", "Short description for its card.")
    ] = None,
    private: Annotated[
        bool, typer.Option("--private", help="Make a new repository private.")
    ] = False,
    revision: Annotated[
        str | None,
        options.value_option(
            "BRANCH", "Branch to push to, created if it is missing. main by default."
        ),
    ] = None,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Publish a trained model on the Hugging Face Hub.

    The repository is created if it is missing. It holds weights, configuration and a card with
    figures, data and lineage; `from_pretrained` and timm load it by its name. Unchanged content is
    not pushed again, and a card that was edited on the Hub is kept. For the artifact of a search,
    use `push`.

    JSON:
        id: the repository
        url: its page
        commit: the commit with the model
        made: false if it existed already

    Example:
        wsdarts-hub push-model runs/images/training lab/images --license cc-by-4.0

    Python:
        from wsdarts_hub import Classifier
        model = Classifier.load("runs/images/training")
        print(model.push_to_hub("lab/images", license="cc-by-4.0").url)
    """
    display.show_transfers(quiet=quiet)
    pushed = load_model(model).push_to_hub(
        repository,
        license=license_,
        tags=tags or (),
        description=description,
        private=private or None,
        revision=revision,
    )
    if as_json:
        display.json_data(asdict(pushed))
        return
    display.line(pushed.url)
    if not quiet:
        said = "commit" if pushed.made else "there already"
        display.facts([(said, pushed.commit)])
        display.line(f'in Python: Classifier.from_pretrained("{pushed.id}")')


def yank(
    reference: options.ExactReferenceArgument,
    *,
    reason: options.ReasonOption,
    registry: options.RegistryOption = None,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Hide a version from listing and ranking.

    It can still be pulled by its exact version; `show` gives the reason.

    JSON:
        reference: the argument
        reason: the reason

    Example:
        wsdarts-hub yank images@1 --reason "wrong labels" --registry my-zoo

    Python:
        from wsdarts_hub import open_registry
        open_registry("my-zoo").yank("images@1", "wrong labels")
    """
    from wsdarts_registry.stores.opening import open_for  # noqa: PLC0415

    store, within = open_for(reference, registry, writable=True)
    store.yank(within, reason)
    if as_json:
        display.json_data({"reference": reference, "reason": reason})
        return
    display.line(f"yanked {reference}" if quiet else f"yanked {reference}: {reason}")


def unyank(
    reference: options.ExactReferenceArgument,
    *,
    reason: options.ReasonOption,
    registry: options.RegistryOption = None,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Revert a yank: list and rank a version again.

    Both reasons are kept; `show` gives them.

    JSON:
        reference: the argument
        reason: the reason

    Example:
        wsdarts-hub unyank images@1 --reason "the labels were right" --registry my-zoo

    Python:
        from wsdarts_hub import open_registry
        open_registry("my-zoo").unyank("images@1", "the labels were right")
    """
    hub.open_registry(registry, writable=True).unyank(reference, reason)
    if as_json:
        display.json_data({"reference": reference, "reason": reason})
        return
    display.line(f"restored {reference}" if quiet else f"restored {reference}: {reason}")


_SIGNATURES = {
    "copied": "copied with it",
    "there already": "there already",
    "another one there": "not copied: another one is there",
    "another name": "not copied: it is of {source}; sign {entry} again to have one",
}


def copy(
    reference: options.ReferenceArgument,
    *,
    to: Annotated[
        str,
        options.value_option(
            "REGISTRY", "Registry to copy to; a directory is made if it is missing."
        ),
    ],
    registry: options.RegistryOption = None,
    name: Annotated[
        str | None, options.value_option("NAME", "Name there. Its own by default.", "--as")
    ] = None,
    version: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Exact version. Its own number by default, or the next one.",
            show_default=False,
        ),
    ] = None,
    require_signature: options.RequireSignatureOption = None,
    policy: options.PolicyOption = None,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Copy an artifact to another registry, under the same digest.

    It keeps its number where that is free there and it keeps its name; else it gets the next one,
    and a note says so. A signature is copied as well, unless the artifact gets another name or
    version; aliases and yanks are not. A yanked version is copied only if it is named exactly.
    Content that is there already is not copied again.

    JSON:
        reference: the version there
        digest: sha256 of its manifest
        source: the version that was copied
        made: false if the content existed already
        signature: whether it was copied

    Example:
        wsdarts-hub copy flowers102 --to my-zoo --as flowers

    Python:
        from wsdarts_hub import copy
        print(copy("flowers102", "my-zoo", name="flowers").entry.reference)
    """
    copied = hub.copy(
        reference,
        to,
        registry=registry,
        name=name,
        version=version,
        require_signature=options.required_signature(require_signature, policy),
    )
    if as_json:
        display.json_data(
            {
                "reference": str(copied.entry.reference),
                "digest": copied.entry.digest,
                "source": str(copied.source.reference),
                "made": copied.made,
                "signature": copied.signature,
            }
        )
        return
    display.line(str(copied.entry.reference))
    if not quiet:
        _say(copied, to)
        if version is None and copied.entry.name == copied.source.name:
            _say_number(copied)


def _say(copied: "Copied", to: str) -> None:
    source, entry = copied.source, copied.entry
    facts = [("digest", entry.digest), ("copied" if copied.made else "there already", to)]
    if copied.signature in _SIGNATURES:
        facts.append(
            (
                "signature",
                _SIGNATURES[copied.signature].format(
                    source=source.reference, entry=entry.reference
                ),
            )
        )
    display.facts(facts)
    if source.yanked:
        display.note(
            f"warning: {source.reference} was yanked ({source.yanked.reason}); "
            f"{entry.reference} in {to} is not"
        )
    left = [alias for alias in source.status.aliases if alias not in entry.status.aliases]
    if left:
        display.note(
            f"its aliases were not copied ({', '.join(left)}); set them with `wsdarts-hub alias "
            f"set {entry.name} {left[0]} {entry.version} --registry {shlex.quote(to)}`"
        )


def _say_number(copied: "Copied") -> None:
    source, entry = copied.source.reference, copied.entry.reference
    if entry != source and copied.made:
        display.note(f"{source} became {entry}, as the number {source.version} is taken there")
    elif entry != source:
        display.note(f"{source} is {entry} there")


def keygen(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="New file for the private key.", show_default=False),
    ],
    *,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Make a key pair for signing artifacts.

    FILE is the private key: keep it secret. FILE.pub is the public key, for everyone who verifies
    your signatures. Needs the extra `signing`, by `pip install '.[signing]'` in the checkout.

    JSON:
        public: file of the public key
        private: file of the private key

    Example:
        wsdarts-hub keygen my.key

    Python:
        from wsdarts_hub import make_keys
        private, public = make_keys("my.key")
    """
    private, public = hub.make_keys(file)
    if as_json:
        display.json_data({"public": public, "private": private})
        return
    display.line(str(public))
    if not quiet:
        display.facts([("private", f"{private} (keep it to yourself)")])


def sign(
    reference: options.ReferenceArgument,
    *,
    key: Annotated[Path, options.value_option("FILE", "The private key.")],
    registry: options.RegistryOption = None,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Sign a published version.

    The signature covers name, version and content. It is stored beside the version, whose content
    and digest do not change. An earlier signature is replaced. Needs the extra `signing`, by
    `pip install '.[signing]'` in the checkout.

    JSON:
        reference: exact version
        digest: sha256 of its manifest

    Example:
        wsdarts-hub sign images@1 --key my.key --registry my-zoo

    Python:
        from wsdarts_hub import sign
        sign("images@1", key="my.key", registry="my-zoo")
    """
    entry = hub.sign(reference, key=key, registry=registry)
    if as_json:
        display.json_data({"reference": str(entry.reference), "digest": entry.digest})
        return
    display.line(f"signed {entry.reference}")
    if not quiet:
        display.facts([("digest", entry.digest)])
