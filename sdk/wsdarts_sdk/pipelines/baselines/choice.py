"""The baseline that a user names: ``linear``, ``linear:PROBE`` or ``timm:SOURCE``."""

from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qsl, urlencode

import torch

from wsdarts_registry._arguments import check_text
from wsdarts_registry.errors import SettingsError
from wsdarts_sdk.models.settings import TrainingSettings
from wsdarts_sdk.pipelines.baselines.fine_tuning import fine_tuning_settings, measure_fine_tuned
from wsdarts_sdk.pipelines.baselines.linear import measure_linear
from wsdarts_sdk.pipelines.baselines.measured import Measure
from wsdarts_sdk.task2vec import Probe, load_probe

LINEAR = "linear"
_EXPECTED = "linear, linear:PROBE, timm:NAME, timm:FILE.safetensors or None"


@dataclass(frozen=True, kw_only=True, eq=False)
class Chosen:
    """A baseline that was named, with its network loaded.

    Attributes:
        kind: ``linear`` or ``timm``.
        probe: The network whose features it takes, or that is fine-tuned.
        settings: Of the fine-tuning; None for ``linear``.
    """

    kind: Literal["linear", "timm"]
    probe: Probe
    settings: TrainingSettings | None = None

    @property
    def measure(self) -> Measure:
        """How to measure it in the open run of a training."""
        settings = self.settings
        if settings is None:
            return lambda context: measure_linear(context.tasks[0], self.probe, context.progress)
        return lambda context: measure_fine_tuned(context, self.probe, settings)


def find_baseline(
    baseline: str | None, training: TrainingSettings, device: torch.device
) -> Chosen | None:
    """Return the baseline of that name, or None for none; what it needs is loaded here.

    Args:
        baseline: ``"linear"``; ``"linear:PROBE"`` with a probe as for ``load_probe``;
            ``"timm:SOURCE"``, the same source, whose network is fine-tuned, with ``?size=PIXELS``
            where its images are to be of another size than the training's; or None.
        training: Settings of the training beside it.
        device: Where it is computed.

    Raises:
        SettingsError: There is no such baseline.
        ProbeError: The network cannot be loaded, or does not take images of that size.
    """
    check_text(baseline, "baseline", optional=True)
    if baseline is None:
        return None
    kind, _, named = baseline.partition(":")
    if kind == LINEAR and (named or ":" not in baseline):
        return Chosen(kind="linear", probe=load_probe(named or None, device=str(device)))
    if kind != "timm" or not named:
        raise SettingsError("baseline", found=repr(baseline[:80]), expected=_EXPECTED)
    source, size = _without_size(named)
    probe = load_probe(source, device=str(device))
    settings = fine_tuning_settings(training, training.image_size if size is None else size)
    probe.check(settings.image_size)
    return Chosen(kind="timm", probe=probe, settings=settings)


def _without_size(source: str) -> tuple[str, int | None]:
    """Return the source of a network without its option ``size``, and that."""
    location, _, query = source.partition("?")
    pairs = parse_qsl(query, keep_blank_values=True)
    sizes = [value for name, value in pairs if name == "size"]
    if not sizes:
        return source, None
    if len(sizes) > 1 or not sizes[0].isdecimal():
        raise SettingsError(
            "size of the baseline", found=repr(" and ".join(sizes))[:80], expected="pixels a side"
        )
    others = urlencode([pair for pair in pairs if pair[0] != "size"], safe=",")
    return f"{location}?{others}" if others else location, int(sizes[0])
