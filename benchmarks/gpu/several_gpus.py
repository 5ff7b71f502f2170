"""Search steps on several GPUs that share a batch, started by ``torchrun``.

For stages 3 and 1 it times the step of one GPU on the whole batch, then that of all of them with
norms of their own and with synchronised ones, and the exchange of a gradient alone. In float64 it
takes one step of each, from the same weights, and tells how far the weights are apart.

    sh benchmarks/gpu/run.sh several_gpus --results benchmarks/results/gpu
"""

from dataclasses import replace
from functools import partial
from typing import Any

import torch
from job import Results, Time, milliseconds, parser_for
from step_engines import CLASSES, Setting
from steps import Ours
from torch import Tensor

from wsdarts_sdk.data.loader import Batch
from wsdarts_sdk.distributed import ALONE, Ranks, joined_ranks
from wsdarts_sdk.search.state import SearchState
from wsdarts_sdk.search.step import StepInputs
from wsdarts_sdk.supernet.kernels.base import NO_DROPOUT


class Shared(Ours):
    """A step of a search on one rank's share of the batch."""

    def __init__(
        self, setting: Setting, device: torch.device, ranks: Ranks, *, synchronised: bool
    ) -> None:
        super().__init__(setting, device, torch.float32, graphs=False)
        self.settings = replace(self.settings, synchronised_norms=synchronised)
        self.state = SearchState.fresh(
            self.settings, 0, setting.masks(), [CLASSES], device, ranks=ranks
        )
        self.state.net.train()
        images, labels = (tensor.to(device) for tensor in setting.images())
        share = ranks.share_of(len(images))
        batch = Batch(
            images=images[share.start : share.stop],
            labels=labels[share.start : share.stop],
            share=share if ranks.several else None,
        )
        self.inputs = StepInputs(batch=batch, skip=NO_DROPOUT)

    def double(self) -> None:
        """Compute in float64 from here on."""
        self.state.net.double()
        batch = replace(self.inputs.batch, images=self.inputs.batch.images.double())
        self.inputs = replace(self.inputs, batch=batch)


def measured(setting: Setting, device: torch.device, ranks: Ranks, rounds: int) -> dict[str, Any]:
    """Return the times of one stage; those of a single GPU are rank 0's."""
    found: dict[str, Any] = {
        "one": ranks.alone(lambda: _time(setting, device, ALONE, rounds, synchronised=False))
    }
    for name, synchronised in (("own_norms", False), ("synchronised_norms", True)):
        found[name] = _time(setting, device, ranks, rounds, synchronised=synchronised)
    net = Shared(setting, device, ALONE, synchronised=False).state.net
    gradient = torch.zeros_like(net.cell_weights)
    found["exchange"] = milliseconds(lambda: ranks.add_up(gradient), device, rounds)
    found["weights"] = gradient.numel()
    found["times_as_fast"] = round(
        found["one"]["milliseconds"] / found["own_norms"]["milliseconds"], 3
    )
    return found


def _time(
    setting: Setting, device: torch.device, ranks: Ranks, rounds: int, *, synchronised: bool
) -> dict[str, Any]:
    engine = Shared(setting, device, ranks, synchronised=synchronised)
    times: dict[str, Any] = milliseconds(engine.step, device, rounds)
    return times | {"kernels": engine.state.net.kernels.name}


def differences(setting: Setting, device: torch.device, ranks: Ranks) -> dict[str, float]:
    """Return how far a step in float64 with synchronised norms is from that of one GPU."""
    small = replace(setting, batch=4 * ranks.size, size=min(setting.size, 32))
    states: list[dict[str, Tensor]] = []
    for who in (ALONE, ranks):
        engine = Shared(small, device, who, synchronised=True)
        engine.double()
        engine.step()
        states.append({n: v.detach().double() for n, v in engine.state.net.state_dict().items()})
    one, other = states
    apart = [float((one[name] - other[name]).abs().max()) for name in one if one[name].numel()]
    return {"largest_difference": max(apart)}


def main() -> None:
    """Measure what is not measured yet."""
    parser = parser_for(__doc__)
    parser.add_argument("--size", type=int, default=84)
    parser.add_argument("--batch", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()
    left = Time(arguments.seconds)
    with joined_ranks(arguments.device.type) as (ranks, device):
        asked = {"ranks": ranks.size, "size": arguments.size, "batch": arguments.batch}
        path = arguments.results / f"several_gpus_{ranks.size}.json"
        results = Results(path, device, asked) if ranks.is_first else None
        for stage in (3, 1):
            setting = Setting(stage=stage, size=arguments.size, batch=arguments.batch)
            name = f"stage {stage}"
            go_on = ranks.alone(partial(_wanted, results, name, left))
            if not go_on:
                continue
            found = measured(setting, device, ranks, arguments.rounds)
            found |= differences(setting, device, ranks)
            if results is not None:
                results.keep(name, found)
                print(name, found, flush=True)
        if results is not None:
            print("done" if len(results.done) == 2 else "not done: call it again", flush=True)


def _wanted(results: Results | None, name: str, left: Time) -> bool:
    return results is not None and name not in results.done and left.left() > 0


if __name__ == "__main__":
    main()
