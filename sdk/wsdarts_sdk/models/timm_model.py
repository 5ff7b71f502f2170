"""The derived network as a timm model, under the names that timm registers here.

timm builds only architectures that are registered in the running process, so a program that wants
one of these imports ``wsdarts_hub.timm`` first. The network is ``DerivedNetwork`` with timm's
methods; names and shapes of its weights are the same. The genotypes are those that the public code
of DARTS and P-DARTS publishes.
"""

from collections.abc import Callable
from typing import Any

import torch
from timm.layers.adaptive_avgmax_pool import SelectAdaptivePool2d
from timm.layers.config import is_scriptable
from timm.models import (
    build_model_with_cfg,
    generate_default_cfgs,
    register_model,
    resolve_pretrained_cfg,
)
from timm.models._features import feature_take_indices
from torch import Tensor, nn
from torch.nn import functional as F

from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_registry.artifact.reference import Reference
from wsdarts_registry.errors import RegistryError, SettingsError, SpaceError
from wsdarts_sdk.models.network import DerivedNetwork, Stem, not_scriptable, stem_channels
from wsdarts_sdk.models.prediction import TrainedModel
from wsdarts_sdk.supernet.operation_plan import reduction_positions

DARTS_V2 = """Genotype(
    normal=[
        ("sep_conv_3x3", 0), ("sep_conv_3x3", 1), ("sep_conv_3x3", 0), ("sep_conv_3x3", 1),
        ("sep_conv_3x3", 1), ("skip_connect", 0), ("skip_connect", 0), ("dil_conv_3x3", 2),
    ],
    normal_concat=range(2, 6),
    reduce=[
        ("max_pool_3x3", 0), ("max_pool_3x3", 1), ("skip_connect", 2), ("max_pool_3x3", 1),
        ("max_pool_3x3", 0), ("skip_connect", 2), ("skip_connect", 2), ("max_pool_3x3", 1),
    ],
    reduce_concat=range(2, 6),
)"""
"""Liu et al., "DARTS", 2019, arXiv:1806.09055: second order, found on CIFAR-10."""
PDARTS = """Genotype(
    normal=[
        ("skip_connect", 0), ("dil_conv_3x3", 1), ("skip_connect", 0), ("sep_conv_3x3", 1),
        ("sep_conv_3x3", 1), ("sep_conv_3x3", 3), ("sep_conv_3x3", 0), ("dil_conv_5x5", 4),
    ],
    normal_concat=range(2, 6),
    reduce=[
        ("avg_pool_3x3", 0), ("sep_conv_5x5", 1), ("sep_conv_3x3", 0), ("dil_conv_5x5", 2),
        ("max_pool_3x3", 0), ("dil_conv_3x3", 1), ("dil_conv_3x3", 1), ("dil_conv_5x5", 3),
    ],
    reduce_concat=range(2, 6),
)"""
"""Chen et al., "Progressive Differentiable Architecture Search", 2019, arXiv:1904.12760: found on
CIFAR-10."""


ARCHITECTURE = "wsdarts_network"
_CIFAR = {"cells": 20, "channels": 36, "stem": "cifar"}
_IMAGENET = {"cells": 14, "channels": 48, "stem": "imagenet"}


class TimmNetwork(DerivedNetwork):
    """A derived network with the methods of a timm model.

    ``timm.create_model("wsdarts_network", genotype=…)`` makes one, and also takes a network of
    ``load_network`` as ``genotype``; see ``wsdarts_network``.

    Args:
        genotype: The two cells: a ``Genotype``, its JSON data, or text: JSON or that of the DARTS
            code.
        num_classes: Number of classes; 0 builds no last layer.
        in_chans: Channels of the images.
        global_pool: ``"avg"``, ``"max"``, another of timm's kinds, or ``""`` for none.
        drop_rate: Dropout before the last layer, in training.
        drop_path_rate: Rate of drop path, in training.
        cells: Number of cells.
        channels: Channels of the first cell.
        stem: As for ``DerivedNetwork``.

    Random weights follow ``torch.manual_seed``.
    """

    def __init__(
        self,
        genotype: Genotype | dict[str, Any] | str,
        *,
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        cells: int = 20,
        channels: int = 16,
        stem: Stem = "cifar",
    ) -> None:
        found = _genotype(genotype)
        super().__init__(
            found,
            classes=max(num_classes, 1),
            cells=cells,
            channels=channels,
            stem=stem,
            seed=int(torch.randint(2**31 - 1, ())),
        )
        self.nodes, self.num_classes = found.space.nodes, num_classes
        self.drop_rate, self.drop_path_rate = drop_rate, drop_path_rate
        self.num_features = self.head_hidden_size = self.classifier.in_features
        if in_chans != 3:
            large = stem == "imagenet"
            wide, stride = (channels // 2, 2) if large else (stem_channels(stem, channels), 1)
            self.stem[0] = nn.Conv2d(in_chans, wide, 3, stride=stride, padding=1, bias=False)
        self.feature_info = self._feature_info()
        if num_classes == 0 or global_pool != "avg":
            self.reset_classifier(num_classes, global_pool)
        else:
            self.global_pool = SelectAdaptivePool2d(pool_type="avg", flatten=True)

    def _feature_info(self) -> list[dict[str, Any]]:
        stem, channels = self.config["stem"], self.config["channels"]
        width, cell = stem_channels(stem, channels), self.nodes * channels
        return [
            {
                "module": module,
                "reduction": stride,
                "num_chs": cell << level if module.startswith("cells.") else width,
            }
            for module, stride, level in feature_points(len(self.cells), stem)
        ]

    def forward_features(self, x_BCHW: Tensor) -> Tensor:
        """Return the last cell's maps, shape ``(B, num_features, H', W')``."""
        training = self.training and self.drop_path_rate > 0
        draws = torch.default_generator if training else None
        return self.run_cells(x_BCHW, self.drop_path_rate, draws)[0]

    def forward_head(self, x_BCHW: Tensor, pre_logits: bool = False) -> Tensor:
        """Return logits ``(B, num_classes)`` of the last cell's maps, or the last layer's input."""
        x: Tensor = self.global_pool(x_BCHW)
        x = F.dropout(x, self.drop_rate, training=self.training)
        return x if pre_logits else self.classifier(x)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return logits, shape ``(B, num_classes)``."""
        return self.forward_head(self.forward_features(x_BCHW))

    def get_classifier(self) -> nn.Module:
        """Return the last layer."""
        return self.classifier

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the last layer by a new one, or by none where there are to be no classes."""
        if global_pool is not None:
            self.global_pool = SelectAdaptivePool2d(
                pool_type=global_pool, flatten=bool(global_pool)
            )
        inputs = self.num_features * int(self.global_pool.feat_mult())  # type: ignore[no-untyped-call]
        if num_classes and not self.global_pool.pool_type:
            raise SettingsError(
                "without pooling there can be no last layer: set num_classes=0 or global_pool='avg'"
            )
        self.num_classes = num_classes
        new = nn.Linear(inputs, num_classes) if num_classes else nn.Identity()
        self.add_module("classifier", new.to(next(self.parameters()).device))

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Return the maps before each halving, as ``feature_info`` lists them, and the last.

        Args:
            x: Images, shape ``(B, in_chans, H, W)``.
            indices: Which of them; all by default, an integer means the last ones.
            norm: Has no effect: the network has no last norm.
            stop_early: Whether to skip the cells behind the last of them.
            output_fmt: ``"NCHW"`` is the only one.
            intermediates_only: Whether to return the list alone.
        """
        del norm
        if output_fmt != "NCHW":
            raise SettingsError("output_fmt", found=repr(output_fmt), expected="'NCHW'")
        take, last = feature_take_indices(len(self.feature_info), indices)
        names = {self.feature_info[index]["module"]: index for index in take}
        previous = self.run_stem(x)
        found: dict[str, Tensor] = {"stem": previous[0], "second_stem": previous[1]}
        for position, cell in enumerate(self.cells):
            if stop_early and self.feature_info[last]["module"] in found:
                break
            previous = (previous[1], cell(previous, 0.0, None))
            found[f"cells.{position}"] = previous[1]
        maps = [found[name] for name, _ in sorted(names.items(), key=lambda item: item[1])]
        return maps if intermediates_only else (previous[1], maps)

    def prune_intermediate_layers(
        self,
        indices: int | list[int] = 1,
        prune_norm: bool = False,
        prune_head: bool = True,
    ) -> list[int]:
        """Remove the cells behind the last of some maps; return the indices from the start."""
        del prune_norm
        take, last = feature_take_indices(len(self.feature_info), indices)
        module = self.feature_info[last]["module"]
        kept = int(module.partition(".")[2]) + 1 if module.startswith("cells.") else 0
        self.cells = self.cells[:kept]
        if prune_head:
            self.reset_classifier(0, "")
        found: list[int] = take
        return found

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Return the patterns by which timm groups the weights by depth."""
        return {
            "stem": r"^(?:second_)?stem",
            "blocks": r"^cells\.(\d+)" if not coarse else r"^cells",
        }

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Raise an error: drop path draws anew when a cell is computed again."""
        if enable:
            raise SettingsError("gradient checkpointing is not supported by this network")


def feature_points(cells: int, stem: Stem) -> list[tuple[str, int, int]]:
    """Return the points where maps are taken: before each halving, and at the end.

    Returns:
        Name of the module, how many pixels of the image one of the map is wide, and how often
        the channels have doubled.
    """
    large = stem == "imagenet"
    points = [("stem", 4, 0)] if large else []
    for level, end in enumerate([*sorted(set(reduction_positions(cells))), cells]):
        before = "second_stem" if large else "stem"
        name = f"cells.{end - 1}" if end else before
        points.append((name, (8 if large else 1) << level, level))
    return points


def _genotype(source: Genotype | dict[str, Any] | str) -> Genotype:
    """Return the cells; never of a path or reference: an untrusted config.json names them."""
    if isinstance(source, Genotype):
        return source
    if isinstance(source, dict):
        return Genotype.from_json(source)
    try:
        return Genotype.from_text(source)
    except SpaceError as error:
        if not _is_reference(source):
            raise
        raise SpaceError(
            error.what,
            found=error.found,
            expected=error.expected,
            hint=f'for what is known by that name, give genotype=load_network("{source}")',
        ) from None


def _is_reference(text: str) -> bool:
    try:
        Reference.parse(text)
    except RegistryError:
        return False
    return True


def _settings(classes: int, size: int) -> dict[str, Any]:
    """Return timm's description of pretrained weights, of which there are none."""
    return {
        "url": "",
        "num_classes": classes,
        "input_size": (3, size, size),
        "interpolation": "bilinear",
        "crop_pct": 1.0,
        "crop_mode": "squash",
        "first_conv": "stem.0",
        "classifier": "classifier",
        "license": "apache-2.0",
    }


default_cfgs = generate_default_cfgs(
    {
        ARCHITECTURE: _settings(1000, 84),
        "wsdarts_darts_v2_cifar": _settings(10, 32),
        "wsdarts_darts_v2_imagenet": _settings(1000, 224),
        "wsdarts_pdarts_cifar": _settings(10, 32),
        "wsdarts_pdarts_imagenet": _settings(1000, 224),
    }
)


def _create(
    variant: str,
    pretrained: bool,
    build: Callable[..., TimmNetwork] = TimmNetwork,
    **arguments: Any,
) -> nn.Module:
    if is_scriptable():  # type: ignore[no-untyped-call] # create_model(…, scriptable=True)
        raise not_scriptable()
    if pretrained and not _names_weights(variant, arguments):
        raise SettingsError(
            "pretrained",
            found=True,
            expected=f"False, as there are no trained weights of {variant}",
            hint=(
                f"for the weights of a supernet, create {ARCHITECTURE} with genotype=load_network("
                'REF, weights="inherited")'
            ),
        )
    points = feature_points(arguments.get("cells", 20), arguments.get("stem", "cifar"))
    model: nn.Module = build_model_with_cfg(
        build,
        variant,
        pretrained,
        feature_cfg={"out_indices": tuple(range(len(points))), "feature_cls": "getter"},
        **arguments,
    )
    return model


def _names_weights(variant: str, arguments: dict[str, Any]) -> bool:
    """Return whether timm is told of weights, as by the name of a folder or a repository."""
    found = resolve_pretrained_cfg(
        variant, arguments.get("pretrained_cfg"), arguments.get("pretrained_cfg_overlay")
    )
    return bool(found.has_weights or found.state_dict)


@register_model
def wsdarts_network(pretrained: bool = False, **arguments: Any) -> nn.Module:
    """Return the network of a genotype: ``genotype=…``, ``cells``, ``channels``, ``stem``.

    ``genotype`` is a ``Genotype``, its JSON data, its text, or a network of ``load_network``.
    Of a network it is another one of the same shape, and with ``pretrained=True`` it has its
    weights, too, all but the classifier:

    ```python
    network = load_network("cifar10-1000@3", weights="inherited")
    model = timm.create_model("wsdarts_network", genotype=network, pretrained=True, num_classes=10)
    ```

    ``pretrained_cfg`` then has the network's number of classes, and the size of the images that it
    was searched on where that is known; mean and standard deviation are not known, and timm's.

    Raises:
        SettingsError: There is no genotype, or it is a trained model; or ``cells``, ``channels``
            or ``stem`` is another than the network's; or there are no weights of a genotype alone.
        SpaceError: The text or data is no genotype.
    """
    if "genotype" not in arguments:
        raise SettingsError(
            f"{ARCHITECTURE} needs the argument genotype: a Genotype, its JSON or DARTS text, or a "
            "network of load_network"
        )
    network = arguments["genotype"]
    if isinstance(network, TrainedModel):
        raise SettingsError(
            "genotype",
            found="a trained model",
            expected="a genotype or an untrained network",
            hint='save the model with save_timm("DIR") and create "local-dir:DIR"',
        )
    if not isinstance(network, DerivedNetwork):
        return _create(ARCHITECTURE, pretrained, **arguments)
    return _create_like(network, pretrained, arguments)


def _create_like(network: DerivedNetwork, pretrained: bool, arguments: dict[str, Any]) -> nn.Module:
    """Return a model of the shape of a network, perhaps with its weights.

    Raises:
        SettingsError: The arguments name another shape, or with the weights other channels of
            images.
    """
    for name in ("cells", "channels", "stem"):
        own = network.config[name]
        if arguments.get(name, own) != own:
            raise SettingsError(
                name,
                found=arguments[name],
                expected=f"{own}, as in the network",
                hint=f"leave {name} out, or load a network of that shape",
            )
    if pretrained and arguments.get("in_chans", 3) != 3:
        raise SettingsError(
            "in_chans",
            found=arguments["in_chans"],
            expected="3, the channels of the images that the weights are for",
        )

    def build(**settings: Any) -> TimmNetwork:
        model = TimmNetwork(**settings)
        if pretrained:
            _take_weights(model, network)
        return model

    shape = {name: network.config[name] for name in ("genotype", "cells", "channels", "stem")}
    known: dict[str, Any] = {}
    if not arguments.get("pretrained_cfg"):
        known["num_classes"] = network.config["classes"]
        # The other stem is for larger images than any search takes.
        if network.image_size is not None and network.config["stem"] == "cifar":
            known["input_size"] = (3, network.image_size, network.image_size)
    overlay = {**known, **(arguments.get("pretrained_cfg_overlay") or {})}
    told = {**arguments, **shape, "pretrained_cfg_overlay": overlay}
    return _create(ARCHITECTURE, pretrained=False, build=build, **told)


def _take_weights(model: TimmNetwork, network: DerivedNetwork) -> None:
    """Copy a network's weights into a model, all but the classifier and the auxiliary tower."""
    own = model.state_dict()
    taken = {
        name: value
        for name, value in network.state_dict().items()
        if name in own and not name.startswith("classifier.")
    }
    model.load_state_dict(taken, strict=False)
    model.inherited = network.inherited


@register_model
def wsdarts_darts_v2_cifar(pretrained: bool = False, **arguments: Any) -> nn.Module:
    """Return DARTS' second-order network for CIFAR-10: 20 cells, 36 channels."""
    fixed = {"genotype": DARTS_V2, **_CIFAR}
    return _create("wsdarts_darts_v2_cifar", pretrained, **{**fixed, **arguments})


@register_model
def wsdarts_darts_v2_imagenet(pretrained: bool = False, **arguments: Any) -> nn.Module:
    """Return DARTS' second-order network for ImageNet: 14 cells, 48 channels."""
    fixed = {"genotype": DARTS_V2, **_IMAGENET}
    return _create("wsdarts_darts_v2_imagenet", pretrained, **{**fixed, **arguments})


@register_model
def wsdarts_pdarts_cifar(pretrained: bool = False, **arguments: Any) -> nn.Module:
    """Return P-DARTS' network for CIFAR-10: 20 cells, 36 channels."""
    fixed = {"genotype": PDARTS, **_CIFAR}
    return _create("wsdarts_pdarts_cifar", pretrained, **{**fixed, **arguments})


@register_model
def wsdarts_pdarts_imagenet(pretrained: bool = False, **arguments: Any) -> nn.Module:
    """Return P-DARTS' network for ImageNet: 14 cells, 48 channels."""
    fixed = {"genotype": PDARTS, **_IMAGENET}
    return _create("wsdarts_pdarts_imagenet", pretrained, **{**fixed, **arguments})
