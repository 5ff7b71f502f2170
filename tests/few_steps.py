"""Presets of a few steps, for tests of what happens and not of what is found."""

from dataclasses import replace

from wsdarts_sdk.presets import Preset


def few_steps(preset: Preset) -> Preset:
    """Return a preset with the same networks and stages that takes a few steps in each."""
    stages = tuple(
        replace(stage, epochs=2, weights_only_epochs=1, trained_epochs=1)
        for stage in preset.search.stages
    )
    return replace(
        preset,
        search=replace(preset.search, stages=stages, steps_per_epoch=2),
        training=replace(preset.training, epochs=4, steps_per_epoch=3),
        selection=replace(preset.selection, epochs=2, steps_per_epoch=2),
        choice=replace(preset.choice, candidates=min(preset.choice.candidates, 2), steps=2),
    )
