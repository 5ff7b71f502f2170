"""A trained network with its preprocessing and class names, as one module and one file."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from wsdarts_registry.errors import ArtifactError, SettingsError, SpaceError
from wsdarts_registry.files import expanded, is_directory, open_regular, write_atomically
from wsdarts_registry.genotype import Genotype
from wsdarts_registry.installation import UPDATE
from wsdarts_sdk.network.derived import DerivedNetwork
from wsdarts_sdk.network.prediction import AnyImage, Prediction, predict

if TYPE_CHECKING:
    from wsdarts_sdk.network.onnx_file import OnnxFile

MODEL_FILE = "model.safetensors"
_FORMAT = 1


class Classifier(nn.Module):
    """An image classifier: normalisation, derived network, class names.

    Call it with RGB images in [0, 1] of shape ``(B, 3, image_size, image_size)``; it returns
    logits of shape ``(B, classes)``.

    Args:
        network: The derived network.
        mean: Channel means of the images that it was trained on, in [0, 1], shape ``(3,)``.
        std: Channel standard deviations, shape ``(3,)``.
        image_size: Pixels a side that it was trained at.
        class_names: In the order of the logits.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: DerivedNetwork,
        *,
        mean: Tensor,
        std: Tensor,
        image_size: int,
        class_names: tuple[str, ...],
    ) -> None:
        super().__init__()
        self.network, self.image_size, self.class_names = network, image_size, class_names
        self.register_buffer("mean", mean.reshape(1, 3, 1, 1))
        self.register_buffer("std", std.reshape(1, 3, 1, 1))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Logits, shape ``(B, classes)``."""
        logits: Tensor = self.network((x_BCHW - self.mean) / self.std)
        return logits

    def predict(
        self, images: AnyImage | Iterable[AnyImage], *, top_k: int = 5, batch_size: int = 64
    ) -> list[Prediction]:
        """What the model says of images; ``prediction.predict`` yields the same in turn.

        Args:
            images: One or several: paths of files or folders, encoded images, Pillow images, or
                RGB pixels ``(height, width, 3)``.
            top_k: How many classes to name.
            batch_size: Images that go through the network together.

        Returns:
            One for each image, in order; an image that does not decode has a ``problem``.

        Raises:
            TaskError: A folder has no images or cannot be listed, or pixels have another form.
        """
        return list(predict(self, images, top_k=top_k, batch_size=batch_size))

    def save_timm(self, directory: str | Path) -> Path:
        """Write a folder that timm loads; see ``timm_folder.save_timm``."""
        from wsdarts_sdk.network.timm_folder import save_timm  # noqa: PLC0415 - it imports this

        return save_timm(self, directory)

    def save_onnx(
        self, path: str | Path, *, images: AnyImage | Iterable[AnyImage] = ()
    ) -> "OnnxFile":
        """Write an ONNX file that was checked; see ``onnx_file.save_onnx``."""
        from wsdarts_sdk.network.onnx_file import save_onnx  # noqa: PLC0415 - it imports this

        return save_onnx(self, path, images=images)

    def save(self, path: str | Path) -> Path:
        """Write weights, architecture, preprocessing and class names as one safetensors file."""
        about = {
            "format": _FORMAT,
            **self.network.config,
            "image_size": self.image_size,
            "class_names": list(self.class_names),
        }
        # The auxiliary tower only helps in training.
        tensors = {
            name: value.detach().cpu().clone().contiguous()
            for name, value in self.state_dict().items()
            if not name.startswith("network.auxiliary.")
        }
        return write_atomically(Path(path), save(tensors, {"classifier": json.dumps(about)}))

    @classmethod
    def load(cls, path: str | Path) -> "Classifier":
        """Read a file of ``save``, or the one in a training's run directory, in eval mode.

        Raises:
            ArtifactError: The file is missing, cut off, or not such a file.
        """
        path = expanded(path)
        path = path / MODEL_FILE if is_directory(path) else path
        try:
            with open_regular(path), safe_open(path, framework="pt") as file:
                about = json.loads((file.metadata() or {})["classifier"])
                names = file.keys()
                tensors = {name: file.get_tensor(name) for name in names}
            model = _build(about, sum(tensor.numel() for tensor in tensors.values()))
            model.load_state_dict(tensors)
        except (SafetensorError, OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ArtifactError(
                f"{path} is not a trained model of this library ({reason}); expected the run "
                f"directory of `wsdarts-hub train`, or the {MODEL_FILE} in it"
            ) from error
        except (SpaceError, SettingsError) as error:
            raise ArtifactError(
                f"{path} is not a trained model of this library: {error}"
            ) from error
        return model.eval()


def _build(about: dict[str, Any], numbers: int) -> Classifier:
    """The untrained classifier that a file describes.

    Args:
        about: The file's metadata.
        numbers: How many numbers the file holds; a network that needs more is not built.
    """
    if about["format"] != _FORMAT:
        raise ValueError(
            f"it has format {about['format']!r} and this version reads {_FORMAT}: update with "
            f"{UPDATE}"
        )
    class_names, size = about["class_names"], about["image_size"]
    extent = (about["cells"], about["channels"], about["classes"], size)
    if not all(isinstance(number, int) for number in extent) or sum(extent[:3]) > numbers:
        raise ValueError(f"cells, channels, classes and image size are {extent}")
    if len(class_names) != about["classes"] or not all(isinstance(n, str) for n in class_names):
        raise ValueError(f"it names {len(class_names)} of {about['classes']} classes")
    network = DerivedNetwork(
        Genotype.from_json(about["genotype"]),
        classes=about["classes"],
        cells=about["cells"],
        channels=about["channels"],
        stem=about.get("stem", "cifar"),
    )
    return Classifier(
        network,
        mean=torch.zeros(3),
        std=torch.ones(3),
        image_size=size,
        class_names=tuple(class_names),
    )
