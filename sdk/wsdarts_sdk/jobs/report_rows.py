"""Rows of reports that searches and trainings share."""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from wsdarts_registry import strict_json
from wsdarts_registry.amounts import setting
from wsdarts_sdk.presets import Preset
from wsdarts_sdk.runs.report_facts import Asked, Command, Pairs, PhaseCost, TaskRow
from wsdarts_sdk.tasks import ImageTask, Part


def now() -> str:
    """Date and time, UTC."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


def task_row(task: ImageTask) -> TaskRow:
    """A task with the number of images in each part."""
    weights, alpha, validation, test = (len(task.indices(part)) for part in Part)
    return TaskRow(
        name=task.name,
        digest=task.digest,
        classes=task.classes,
        weights_images=weights,
        alpha_images=alpha,
        validation_images=validation,
        test_images=test,
        given_split=task.given_split,
    )


def held_out_words(task: ImageTask) -> str:
    """What a training on a task is evaluated on, in words."""
    return f"{task.held_out} {'part' if task.given_split else 'third'}"


def phase_costs(seconds: Mapping[str, float], cached: Mapping[str, float]) -> tuple[PhaseCost, ...]:
    """Wall time by phase, and what came from a cache."""
    return tuple(
        PhaseCost(phase=phase, seconds=value, cached=cached.get(phase))
        for phase, value in seconds.items()
    )


def pairs(data: dict[str, Any]) -> Pairs:
    """Settings as names and values, named and written as ``--set`` takes them."""
    found: list[tuple[str, str]] = []
    for name, value in data.items():
        if isinstance(value, dict):
            found += [(f"{name}.{inner}", text) for inner, text in pairs(value)]
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            numbered = {f"{name}.{place}": each for place, each in enumerate(value, start=1)}
            found += pairs(numbered)
        else:
            found.append((name, setting(value)))
    return tuple(found)


def asked(
    command: Command, preset: Preset, settings: dict[str, Any], environment: dict[str, Any]
) -> Asked:
    """What runs are compared by; ``settings`` are the preset's for this command."""
    unseeded = {name: value for name, value in settings.items() if name != "seed"}
    return Asked(
        command=command,
        preset=preset.name,
        settings=f"sha256:{hashlib.sha256(strict_json.dump(unseeded)).hexdigest()}",
        seed=settings["seed"],
        hardware=environment["hardware"],
    )
