"""A cell of the supernet, forward and backward, source by source.

Forward: when a source is known, every group that leaves it is computed; when all sources of a
node are known, the node is the sum of its branches, written once. A branch's batch norm has no
affine parameters, so α is its scale: normalising and weighting are part of that sum, and no
normalised or weighted branch ever exists.

Backward, in the opposite order: one pass over a node's gradient and its branches finds α's
gradients and all that the norms need; then each group sends its gradient to its source.

What the forward pass of a cell leaves for its backward pass, and what both are given.

What gradients are asked of, and what is found.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch import Tensor

from wsdarts_sdk.supernet.kernels.base import (
    Convolution,
    DeviceSkipDropout,
    Kernels,
    Norm,
    OutputGradient,
    PointwiseConvolution,
    SkipDropout,
    Term,
    strided,
)
from wsdarts_sdk.supernet.operation_plan import CellPlan, Group, Input, SeparableHalf, Slice


@dataclass(frozen=True, kw_only=True, slots=True)
class Vectors:
    """The flat vectors that a network's slices are views of.

    Attributes:
        weights: All weights of all cells.
        gradient: Where weight gradients are written, or None.
        running_mean: Of all batch norms.
        running_variance: The same.
    """

    weights: Tensor
    gradient: Tensor | None
    running_mean: Tensor
    running_variance: Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Statistics:
    """Statistics of the batch norms of one pass: one vector each for all of them.

    Attributes:
        mean: Of the batch.
        rstd: 1/√(variance + ε).
        coefficients: Three times as long; see ``OutputGradient``.
    """

    mean: Tensor
    rstd: Tensor
    coefficients: Tensor

    @classmethod
    def like(cls, running: Tensor) -> Self:
        """Allocate memory for as many batch norms as there are running statistics."""
        return cls(
            mean=torch.empty_like(running),
            rstd=torch.empty_like(running),
            coefficients=running.new_empty(3 * len(running)),
        )


@dataclass(kw_only=True, slots=True)
class GroupResults:
    """Results of a group's forward pass, kept for the backward pass."""

    group: Group
    convolutions: list[Convolution] = field(default_factory=list)
    middles: list[Tensor | None] = field(default_factory=list)
    results: list[Tensor] = field(default_factory=list)
    norms: list[Norm] = field(default_factory=list)
    pointwise: PointwiseConvolution | None = None
    terms: list[Term] = field(default_factory=list)

    def term(self, branch: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return values, mean and rstd of one branch's last result."""
        norm, values = self.norms[-1], self.results[-1]
        shared = values.dim() == 4
        return values if shared else values[branch], norm.mean[branch], norm.rstd[branch]


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeTerm:
    """One term of a node with its branch and the column of its α."""

    term: Term
    computed: GroupResults
    branch: int
    column: int


@dataclass(kw_only=True, slots=True)
class Tape:
    """Results of a cell's forward pass, kept for its backward pass."""

    output: Tensor
    inputs: list[tuple[PointwiseConvolution, Tensor, Norm]] = field(default_factory=list)
    sources: list[Tensor] = field(default_factory=list)
    computed: list[list[GroupResults]] = field(default_factory=list)
    nodes: list[list[NodeTerm]] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, slots=True)
class PassOptions:
    """Options and memory of one pass, the same for all cells.

    Attributes:
        alpha: Softmaxed α of each kind, as ``Kernels.scalars`` gives it.
        training: Whether batch norms use batch statistics and identities drop.
        keep: Whether a backward pass follows.
        weight_gradients: Whether it is to find weight gradients.
        skip: Dropout on identities.
        statistics: Room for what the batch norms find.
    """

    alpha: dict[str, Sequence[Any]]
    training: bool
    keep: bool
    weight_gradients: bool
    skip: SkipDropout | DeviceSkipDropout
    statistics: Statistics


class Cell:
    """One cell of a plan, evaluated by the kernels of one engine."""

    def __init__(self, plan: CellPlan, vectors: Vectors, kernels: Kernels) -> None:
        self.plan, self.vectors, self.kernels = plan, vectors, kernels
        self._columns: dict[int, Tensor] = {}  # of α, by node: copied to the device once

    # ------------------------------------------------------------------ forward

    def forward(self, previous: tuple[Tensor, Tensor], options: PassOptions) -> Tape:
        """Compute the cell.

        Args:
            previous: Outputs of the cell before the last and of the last cell, ``(B, H, W, I)``.
            options: The pass.

        Returns:
            A tape whose output has the shape ``(B, H, W, nodes · C)``.
        """
        plan, kernels = self.plan, self.kernels
        tape = Tape(output=previous[0])
        for taken, tensor in zip(plan.inputs, previous, strict=True):
            tape.sources.append(self._process_input(taken, tensor, tape, options))
        images, height, width, channels = tape.sources[1].shape
        if plan.kind == "reduction":
            height, width = strided(height, 2), strided(width, 2)
        tape.output = kernels.empty(
            images, height, width, plan.nodes * channels, like=tape.sources[0]
        )
        tape.nodes = [[] for _ in range(plan.nodes)]
        for source in range(2 + plan.nodes):
            if source >= 2:
                node = tape.output[..., (source - 2) * channels : (source - 1) * channels]
                kernels.mix_forward([entry.term for entry in tape.nodes[source - 2]], node)
                tape.sources.append(node)
            self._compute_groups(source, tape, options)
        if not options.keep:
            self._release(tape)
        return tape

    def _process_input(
        self, taken: Input, tensor: Tensor, tape: Tape, options: PassOptions
    ) -> Tensor:
        """Bring one of the cell's inputs to its number of channels and size."""
        pointwise = PointwiseConvolution(
            source=tensor,
            parts=tuple(
                (run.of(self.vectors.weights), offset) for offset, run in enumerate(taken.parts)
            ),
            stride=taken.stride,
        )
        norm = self._norm(taken.norm, options)
        result = self.kernels.pointwise_forward(pointwise, norm)
        tape.inputs.append((pointwise, result, norm))
        source = self.kernels.empty(*result.shape[1:], like=result)
        self.kernels.mix_forward([_input_term(result, norm)], source)
        return source

    def _compute_groups(self, source: int, tape: Tape, options: PassOptions) -> None:
        """Compute every group that leaves a source and hand its branches to their nodes."""
        alpha = options.alpha[self.plan.kind]
        tape.computed.append([])
        for group in self.plan.groups:
            if group.source != source:
                continue
            computed = self._compute_group(group, tape.sources[source], options)
            tape.computed[source].append(computed)
            for branch, (edge, target) in enumerate(zip(group.edges, group.targets, strict=True)):
                column = self.plan.column(edge, group.operation)
                if group.identity:
                    term = Term(
                        values=tape.sources[source],
                        alpha=alpha[column],
                        seed=options.skip.edge_seed(
                            self.plan.index, edge, tape.sources[source][0].numel()
                        ),
                        rate=options.skip.rate if options.training else 0.0,
                    )
                else:
                    values, mean, rstd = computed.term(branch)
                    term = Term(values=values, mean=mean, rstd=rstd, alpha=alpha[column])
                computed.terms.append(term)
                tape.nodes[target].append(
                    NodeTerm(term=term, computed=computed, branch=branch, column=column)
                )

    def _compute_group(self, group: Group, source: Tensor, options: PassOptions) -> GroupResults:
        kernels, computed = self.kernels, GroupResults(group=group)
        if group.halves:
            for half in group.halves:
                self._convolve(half, source, computed, options)
        elif group.norm is not None:
            norm = self._norm(group.norm, options)
            computed.norms.append(norm)
            if group.parts:
                parts = tuple(
                    (run.of(self.vectors.weights), offset) for offset, run in enumerate(group.parts)
                )
                computed.pointwise = PointwiseConvolution(
                    source=source, parts=parts, stride=group.stride
                )
                computed.results.append(kernels.pointwise_forward(computed.pointwise, norm))
            else:
                kind = group.operation[:3]
                computed.results.append(kernels.pooling_forward(source, kind, group.stride, norm))
        return computed

    def _convolve(
        self, half: SeparableHalf, source: Tensor, computed: GroupResults, options: PassOptions
    ) -> None:
        """Compute one half of a separable convolution, or a dilated one."""
        second = bool(computed.results)
        convolution = Convolution(
            source=computed.results[-1] if second else source,
            norm=computed.norms[-1] if second else None,
            depthwise=half.depthwise.of(self.vectors.weights),
            pointwise=half.pointwise.of(self.vectors.weights),
            stride=half.stride,
            dilation=half.dilation,
        )
        norm = self._norm(half.norm, options)
        middle, result = self.kernels.convolution_forward(
            convolution, norm, keep=options.keep and options.weight_gradients
        )
        computed.convolutions.append(convolution)
        computed.middles.append(middle)
        computed.results.append(result)
        computed.norms.append(norm)

    # ----------------------------------------------------------------- backward

    def backward(
        self,
        tape: Tape,
        gradient: Tensor,
        to_previous: tuple[Tensor | None, Tensor | None],
        alpha_gradient: Tensor,
        options: PassOptions,
    ) -> None:
        """Send a gradient back through the cell and release its memory.

        Args:
            tape: Of the forward pass.
            gradient: Of the output; used as working memory.
            to_previous: Where the gradients of the two inputs are added, or None.
            alpha_gradient: Where the gradients of the softmaxed α are added, flat, float64.
            options: The pass.
        """
        plan, kernels, c = self.plan, self.kernels, self.plan.channels
        nodes = [gradient[..., k * c : (k + 1) * c] for k in range(plan.nodes)]
        inputs = [kernels.empty(*s.shape, like=s).zero_() for s in tape.sources[:2]]
        for source in reversed(range(2 + plan.nodes)):
            into = inputs[source] if source < 2 else nodes[source - 2]
            for computed in tape.computed[source]:
                self._group_backward(computed, tape.sources[source], nodes, into, options)
            if source >= 2:
                self._mix_backward(tape, source - 2, nodes, alpha_gradient)
        for (pointwise, result, norm), reached, to, taken in zip(
            tape.inputs, inputs, to_previous, plan.inputs, strict=True
        ):
            self._input_backward(pointwise, result, norm, reached, to, taken, options)
        kernels.release(*inputs)
        self._release(tape)

    def _mix_backward(
        self, tape: Tape, node: int, nodes: list[Tensor], alpha_gradient: Tensor
    ) -> None:
        """Find α's gradients at a node, and the coefficients of the norms of its branches."""
        entries = tape.nodes[node]
        if not entries:
            return
        places: list[Tensor | None] = []
        for entry in entries:
            if entry.term.mean is None:
                places.append(None)
                continue
            places.append(entry.computed.norms[-1].coefficients[entry.branch])
        found = self.kernels.mix_backward([e.term for e in entries], nodes[node], places)
        if node not in self._columns:
            columns = [entry.column for entry in entries]
            self._columns[node] = torch.tensor(columns, device=alpha_gradient.device)
        alpha_gradient.index_add_(0, self._columns[node], found)

    def _group_backward(
        self,
        computed: GroupResults,
        source: Tensor,
        nodes: list[Tensor],
        into: Tensor,
        options: PassOptions,
    ) -> None:
        """Send the gradients of a group's branches to its source."""
        group, kernels = computed.group, self.kernels
        reached = [nodes[target] for target in group.targets]
        if group.identity:
            for term, gradient in zip(computed.terms, reached, strict=True):
                kernels.identity_backward(term, gradient, into)
            return
        output_gradient = OutputGradient(
            gradients=reached, coefficients=computed.norms[-1].coefficients
        )
        if group.halves:
            self._convolutions_backward(computed, output_gradient, into, options)
        elif computed.pointwise is not None:
            kernels.pointwise_backward(
                computed.pointwise,
                computed.results[0],
                output_gradient,
                source_gradient=into,
                weight_gradients=self._gradients(group.parts, options),
            )
        else:
            kind = group.operation[:3]
            kernels.pooling_backward(
                source, kind, group.stride, computed.results[0], output_gradient, into
            )

    def _convolutions_backward(
        self,
        computed: GroupResults,
        output_gradient: OutputGradient,
        into: Tensor,
        options: PassOptions,
    ) -> None:
        kernels = self.kernels
        for place in reversed(range(len(computed.convolutions))):
            half = computed.group.halves[place]
            wanted = self._gradients((half.depthwise, half.pointwise), options)
            between = kernels.convolution_backward(
                computed.convolutions[place],
                computed.middles[place],
                computed.results[place],
                output_gradient,
                source_gradient=into if place == 0 else None,
                weight_gradients=None if wanted is None else (wanted[0], wanted[1]),
            )
            kernels.release(output_gradient.memory)
            if between is not None:
                output_gradient = between

    def _input_backward(
        self,
        pointwise: PointwiseConvolution,
        result: Tensor,
        norm: Norm,
        reached: Tensor,
        to: Tensor | None,
        taken: Input,
        options: PassOptions,
    ) -> None:
        """Send the gradient of a source through the convolution that made it."""
        wanted = self._gradients(taken.parts, options)
        if to is None and wanted is None:
            return
        self.kernels.mix_backward([_input_term(result, norm)], reached, [norm.coefficients[0]])
        self.kernels.pointwise_backward(
            pointwise,
            result,
            OutputGradient(gradients=[reached], coefficients=norm.coefficients),
            source_gradient=to,
            weight_gradients=wanted,
        )

    def _gradients(self, runs: tuple[Slice, ...], options: PassOptions) -> list[Tensor] | None:
        if not options.weight_gradients or self.vectors.gradient is None:
            return None
        return [run.of(self.vectors.gradient) for run in runs]

    def _norm(self, run: Slice, options: PassOptions) -> Norm:
        branches, channels = run.shape
        wide = Slice(start=3 * run.start, shape=(branches, 3, channels))
        return Norm(
            mean=run.of(options.statistics.mean),
            rstd=run.of(options.statistics.rstd),
            coefficients=wide.of(options.statistics.coefficients),
            running_mean=run.of(self.vectors.running_mean),
            running_variance=run.of(self.vectors.running_variance),
            training=options.training,
        )

    def _release(self, tape: Tape) -> None:
        kernels = self.kernels
        for _, result, _ in tape.inputs:
            kernels.release(result)
        kernels.release(*tape.sources[:2])
        for leaving in tape.computed:
            for computed in leaving:
                kernels.release(*computed.middles, *computed.results)


def _input_term(result: Tensor, norm: Norm) -> Term:
    return Term(values=result[0], mean=norm.mean[0], rstd=norm.rstd[0])
