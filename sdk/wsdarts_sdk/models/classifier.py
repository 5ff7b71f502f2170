"""A trained network with its preprocessing and class names, as one module and one file."""

import json
import reprlib
import shlex
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from wsdarts_registry._files import (
    as_path,
    expanded,
    is_directory,
    is_file,
    open_regular,
    write_atomically,
)
from wsdarts_registry._libraries import UPDATE
from wsdarts_registry._text import sanitize
from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_registry.errors import (
    ArtifactError,
    RunError,
    SettingsError,
    SpaceError,
    TaskError,
)
from wsdarts_registry.publishing.training_record import finished_trainings
from wsdarts_sdk.data.decoding import RESIZES, Resize
from wsdarts_sdk.devices import TooLargeError, at_most
from wsdarts_sdk.models._export import OnnxFile, save_onnx
from wsdarts_sdk.models.facts import ModelFacts, facts_of_run, parse_facts
from wsdarts_sdk.models.model_folder import folder_files, may_replace, read_folder, save_timm
from wsdarts_sdk.models.network import DerivedNetwork
from wsdarts_sdk.models.prediction import AnyImage, Prediction, TrainedModel, predict
from wsdarts_sdk.runs.directory import MODEL_FILE, read_config

if TYPE_CHECKING:
    from wsdarts_registry.stores.huggingface.models import PushedModel

_FORMAT = 1
_LARGEST_IMAGE = 8192
_SPARE = 2**24
_MOST_NAMED = 3


class Classifier(TrainedModel):
    """An image classifier: normalisation, derived network, class names.

    Call it with RGB images in [0, 1] of shape ``(B, 3, image_size, image_size)``, of any floating
    type; it returns logits of shape ``(B, classes)``, of the type of the network's weights.

    Args:
        network: The derived network.
        mean: Channel means of the images that it was trained on, in [0, 1], shape ``(3,)``.
        std: Channel standard deviations, shape ``(3,)``.
        image_size: Pixels a side that it was trained at.
        class_names: In the order of the logits; as many as the network has classes.
        facts: How good it is and where it comes from; its card says them.
        trained_on: Digest of the dataset that it was trained on, whose held-out part alone it is
            evaluated on; None where it is not known.
        resize: How images become squares for it: ``"squash"``, or ``"crop"``, which keeps the
            aspect, and the middle.

    Raises:
        SettingsError: Another number of class names, or no list of them.
    """

    def __init__(
        self,
        network: DerivedNetwork,
        *,
        mean: Tensor,
        std: Tensor,
        image_size: int,
        class_names: Sequence[str],
        facts: ModelFacts | None = None,
        trained_on: str | None = None,
        resize: Resize = "squash",
    ) -> None:
        super().__init__()
        classes = network.config["classes"]
        listed = isinstance(class_names, list | tuple)
        if not listed or not all(isinstance(name, str) for name in class_names):
            raise SettingsError(
                "class_names",
                found=reprlib.repr(class_names),
                expected=f"a list of {classes} names, in the order of the logits",
            )
        if len(class_names) != classes:
            raise SettingsError(
                f"{len(class_names)} class names for {classes} classes", expected="one for each"
            )
        self.network, self.image_size, self.resize = network, image_size, resize
        self.trained_on = trained_on
        self.class_names = tuple(class_names)
        self.facts = facts
        self.register_buffer("mean", mean.reshape(1, 3, 1, 1))
        self.register_buffer("std", std.reshape(1, 3, 1, 1))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return logits, shape ``(B, classes)``.

        Raises:
            TaskError: The images have another shape, or are integers, which would stand for
                [0, 255].
        """
        # Tracing would record the comparison.
        if not torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
            _check_shape(x_BCHW)
        if not x_BCHW.is_floating_point():
            raise TaskError(
                f"images are of type {x_BCHW.dtype}",
                expected="floating point in [0, 1]",
                hint="divide them: model(images / 255)",
            )
        dtype = next(self.network.parameters()).dtype
        logits: Tensor = self.network(((x_BCHW - self.mean) / self.std).to(dtype))
        return logits

    def predict(
        self, images: AnyImage | Iterable[AnyImage], *, top_k: int = 5, batch_size: int = 64
    ) -> list[Prediction]:
        """Return predictions for images; ``prediction.predict`` yields them one by one.

        Args:
            images: One or several of: paths of files or folders, encoded images (bytes, or a file
                opened as binary), Pillow images, or pixels as a NumPy array or a torch tensor,
                uint8 or in [0, 1]: one image, or several of shape ``(N, …)``.
            top_k: How many classes to name.
            batch_size: Images that go through the network together.

        Returns:
            One for each image, in order; an image that does not decode has a ``problem``.

        Raises:
            TaskError: A folder has no images or cannot be listed, or pixels have another form.
        """
        return list(predict(self, images, top_k=top_k, batch_size=batch_size))

    def save_timm(
        self,
        directory: str | Path,
        *,
        license: str | None = None,  # noqa: A002
        tags: Sequence[str] = (),
        description: str | None = None,
    ) -> Path:
        """Write a folder that timm and ``from_pretrained`` load; see ``model_folder.save_timm``."""
        return save_timm(self, directory, license=license, tags=tags, description=description)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        license: str | None = None,  # noqa: A002
        tags: Sequence[str] = (),
        description: str | None = None,
        private: bool | None = None,
        revision: str | None = None,
        commit_message: str = "Push model using wsdarts-hub",
        token: str | None = None,
    ) -> "PushedModel":
        """Push the model to the Hugging Face Hub, in one commit.

        The repository holds what ``save_timm`` writes, so that ``from_pretrained`` and timm load
        it by its name: weights as safetensors, ``config.json``, and a card with its figures, its
        data and where it comes from. It is made if it is missing. Content that is there already
        makes no commit; a card that somebody edited there is kept.

        Args:
            repo_id: ``"OWNER/NAME"``.
            license: Licence for the card, such as ``"cc-by-4.0"``; left open by default.
            tags: Further tags for the card.
            description: A few words for the card, as plain text.
            private: Whether others may not see a repository that is made; the Hub's default by
                default. One that is there stays as it is.
            revision: Branch to push to, made if it is missing; main by default.
            commit_message: Title of the commit.
            token: A token; the one that huggingface_hub finds by default.

        Raises:
            RegistryError: The Hub refuses it or cannot be reached, or the repository holds
                something else.
        """
        # Imported here: who only predicts needs no client of the Hub.
        from wsdarts_registry.stores.huggingface.models import ModelRepository  # noqa: PLC0415

        repository = ModelRepository(repo_id, token=token)
        files = folder_files(
            self, name=repository.id, license=license, tags=tags, description=description
        )
        return repository.push(
            files,
            title=commit_message,
            private=private,
            branch=revision,
            is_ours=lambda config, card: may_replace(repository.id, config, card),
        )

    @classmethod
    def from_pretrained(
        cls, source: str | Path, *, revision: str | None = None, token: str | None = None
    ) -> "Classifier":
        """Load a model from the Hugging Face Hub, or from a folder of ``save_timm``.

        Sizes and hashes are verified before anything is read, and nothing in the files runs.
        Where HF_HUB_OFFLINE is set, what was loaded before is loaded from the cache.

        Args:
            source: ``"OWNER/NAME"``, or the folder, which goes first if it is there.
            revision: Branch, tag or commit of the repository; main by default.
            token: A token; the one that huggingface_hub finds by default.

        Returns:
            The model, in eval mode.

        Raises:
            ArtifactError: A file is missing, damaged, too large, or not of such a model.
            RegistryError: The Hub cannot be asked, or there is no such repository or revision.
        """
        about, weights = read_folder(source, revision=revision, token=token)
        tensors = {f"network.{name}": value for name, value in weights.items()}
        tensors |= {name: about.pop(name).reshape(1, 3, 1, 1) for name in ("mean", "std")}
        facts = about.pop("facts")
        with _told(str(source), "what `push_to_hub` or `save_timm` of a Classifier wrote"):
            model = _build({"format": _FORMAT, **about}, tensors)
            model.load_state_dict(tensors)
        model.facts = facts
        return model.eval()

    def save_onnx(
        self, path: str | Path, *, images: AnyImage | Iterable[AnyImage] = ()
    ) -> OnnxFile:
        """Write an ONNX file that was checked; see ``_export.save_onnx``."""
        return save_onnx(self, path, images=images)

    def save(self, path: str | Path) -> Path:
        """Write weights, architecture, preprocessing and class names as one safetensors file."""
        about = {
            "format": _FORMAT,
            **self.network.config,
            "image_size": self.image_size,
            "class_names": list(self.class_names),
            **({} if self.facts is None else {"facts": self.facts.to_json()}),
        }
        if self.network.inherited is not None:
            about["inherited"] = self.network.inherited
        if self.trained_on is not None:
            about["trained_on"] = self.trained_on
        if self.resize != "squash":  # what files without it mean
            about["resize"] = self.resize
        # The auxiliary tower only helps in training.
        tensors = {
            name: value.detach().cpu().clone().contiguous()
            for name, value in self.state_dict().items()
            if not name.startswith("network.auxiliary.")
        }
        return write_atomically(as_path(path), save(tensors, {"classifier": json.dumps(about)}))

    @classmethod
    def load(cls, path: str | Path) -> "Classifier":
        """Read a file of ``save``, or the one in a training's run directory, in eval mode.

        Raises:
            ArtifactError: The file is missing, cut off, or not such a file, or the directory is
                the run of a search.
        """
        path = expanded(path, "the file of a model")
        path = path / MODEL_FILE if is_directory(path) else path
        expected = f"the run directory of `wsdarts-hub train`, or the {MODEL_FILE} in it"
        with _told(path, expected):
            if not is_file(path):
                _refuse_search(path.parent, expected)
            with open_regular(path), safe_open(path, framework="pt") as file:
                about = json.loads((file.metadata() or {})["classifier"])
                names = file.keys()
                tensors = {name: file.get_tensor(name) for name in names}
            model = _build(about, tensors)
            model.load_state_dict(tensors)
        model.facts = facts_of_run(path.parent, parse_facts(about.get("facts")))
        return model.eval()


def _refuse_search(run: Path, expected: str) -> None:
    """Raise an error that names the trainings of a directory where it is the run of a search."""
    try:
        command = read_config(run).get("command")
    except RunError:
        return
    if command == "train":
        return
    trained = [place for place in finished_trainings(run) if is_file(place / MODEL_FILE)]
    shown = ", ".join(str(place) for place in trained[:_MOST_NAMED])
    hint = f"name a training of it: {shown}"
    if not trained:
        hint = f"train what it found: wsdarts-hub train {shlex.quote(str(run))} DATA --out NET"
    raise ArtifactError(run, found="the run of a search", expected=expected, hint=hint)


@contextmanager
def _told(what: str | Path, expected: str) -> Iterator[None]:
    """Raise an ArtifactError for whatever is wrong with a model that is read in the block."""
    try:
        yield
    except (SafetensorError, OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        found = f"not a trained model of this library ({reason})"
        raise ArtifactError(what, found=found, expected=expected) from error
    except TooLargeError as error:
        raise ArtifactError(
            f"{what} describes a larger network than it holds weights of", hint="train it again"
        ) from error
    except (SpaceError, SettingsError) as error:
        found = f"not a trained model of this library: {error}"
        raise ArtifactError(what, found=found) from error


def _check_shape(images: Any) -> None:
    if not isinstance(images, Tensor) or images.ndim != 4 or images.shape[1] != 3:
        is_array = isinstance(images, Tensor)
        found = f"have shape {tuple(images.shape)}" if is_array else f"are {reprlib.repr(images)}"
        raise TaskError(f"images {found}", expected="a tensor of shape (images, 3, height, width)")


def _build(about: dict[str, Any], tensors: dict[str, Tensor]) -> Classifier:
    """Return the untrained classifier that a file describes.

    Args:
        about: The file's metadata.
        tensors: Its weights; a network that needs more is not built.

    Raises:
        TooLargeError: It needs more.
    """
    if about["format"] != _FORMAT:
        raise ValueError(
            f"it has format {about['format']!r} and this version reads {_FORMAT}: update with "
            f"{UPDATE}"
        )
    class_names, size = about["class_names"], about["image_size"]
    trained_on = about.get("trained_on")
    extent = (about["cells"], about["channels"], about["classes"], size)
    whole = all(type(number) is int for number in extent)
    if not whole or about["cells"] > len(tensors) or not 1 <= size <= _LARGEST_IMAGE:
        raise ValueError(
            f"cells, channels, classes and image size are {extent}, with {len(tensors)} tensors"
        )
    resize = about.get("resize", "squash")
    if resize not in RESIZES:
        raise ValueError(f"resize is {resize!r}, none of {', '.join(RESIZES)}")
    genotype = Genotype.from_json(about["genotype"])
    # As much again as the weights, for what is made on the way.
    with at_most(_SPARE + 2 * 4 * sum(tensor.numel() for tensor in tensors.values())):
        network = DerivedNetwork(
            genotype,
            classes=about["classes"],
            cells=about["cells"],
            channels=about["channels"],
            stem=about.get("stem", "cifar"),
        )
    network.inherited = _lineage(about.get("inherited"))
    return Classifier(
        network,
        mean=torch.zeros(3),
        std=torch.ones(3),
        image_size=size,
        class_names=class_names,
        trained_on=None if trained_on is None else str(trained_on),
        resize=resize,
    )


def _lineage(inherited: Any) -> dict[str, Any] | None:
    """Return the source of a network's initial weights, as in its file.

    Raises:
        ValueError: It says anything else.
    """
    if inherited is None:
        return None
    source, share = inherited["source"], inherited["share"]
    if type(source) is not str or type(share) is not float or not 0 <= share <= 1:
        raise ValueError(f"inherited is {reprlib.repr(inherited)}")
    return {"source": sanitize(source, 200), "share": share}
