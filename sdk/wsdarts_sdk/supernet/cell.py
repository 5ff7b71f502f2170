"""A cell of the supernet, forward and backward, source by source.

Forward: when a source is known, every group that leaves it is computed; when all sources of a
node are known, the node is the sum of its branches, written once. A branch's batch norm has no
affine parameters, so α is its scale: normalising and weighting are part of that sum, and no
normalised or weighted branch ever exists.

Backward, in the opposite order: one pass over a node's gradient and its branches finds α's
gradients and all that the norms need; then each group sends its gradient to its source.
"""

import torch
from torch import Tensor

from wsdarts_sdk.supernet.kernels.base import (
    Convolution,
    Kernels,
    Lattice,
    Norm,
    Term,
    Upstream,
    strided,
)
from wsdarts_sdk.supernet.layout import Run
from wsdarts_sdk.supernet.plan import CellPlan, Group, Half, Input
from wsdarts_sdk.supernet.tape import Computed, Entry, Pass, Tape, Vectors


class Cell:
    """Evaluates one cell of a plan with the kernels of one engine."""

    def __init__(self, plan: CellPlan, vectors: Vectors, kernels: Kernels) -> None:
        self.plan, self.vectors, self.kernels = plan, vectors, kernels
        self._columns: dict[int, Tensor] = {}  # of α, by node: copied to the device once

    # ------------------------------------------------------------------ forward

    def forward(self, previous: tuple[Tensor, Tensor], how: Pass) -> Tape:
        """Compute the cell.

        Args:
            previous: Outputs of the cell before the last and of the last cell, ``(B, H, W, I)``.
            how: The pass.

        Returns:
            A tape whose output has the shape ``(B, H, W, nodes · C)``.
        """
        plan, kernels = self.plan, self.kernels
        tape = Tape(output=previous[0])
        for taken, tensor in zip(plan.inputs, previous, strict=True):
            tape.sources.append(self._take(taken, tensor, tape, how))
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
            self._leave(source, tape, how)
        if not how.keep:
            self._release(tape)
        return tape

    def _take(self, taken: Input, tensor: Tensor, tape: Tape, how: Pass) -> Tensor:
        """Bring one of the cell's inputs to its number of channels and size."""
        lattice = Lattice(
            source=tensor,
            parts=tuple(
                (run.of(self.vectors.weights), offset) for offset, run in enumerate(taken.parts)
            ),
            stride=taken.stride,
        )
        norm = self._norm(taken.norm, how)
        result = self.kernels.lattice_forward(lattice, norm)
        tape.inputs.append((lattice, result, norm))
        source = self.kernels.empty(*result.shape[1:], like=result)
        self.kernels.mix_forward([_input_term(result, norm)], source)
        return source

    def _leave(self, source: int, tape: Tape, how: Pass) -> None:
        """Compute every group that leaves a source and hand its branches to their nodes."""
        alpha = how.alpha[self.plan.kind]
        tape.computed.append([])
        for group in self.plan.groups:
            if group.source != source:
                continue
            computed = self._compute(group, tape.sources[source], how)
            tape.computed[source].append(computed)
            for branch, (edge, target) in enumerate(zip(group.edges, group.targets, strict=True)):
                column = self.plan.column(edge, group.operation)
                if group.identity:
                    term = Term(
                        values=tape.sources[source],
                        alpha=alpha[column],
                        seed=how.skip.edge_seed(self.plan.index, edge),
                        rate=how.skip.rate if how.training else 0.0,
                    )
                else:
                    values, mean, rstd = computed.term(branch)
                    term = Term(values=values, mean=mean, rstd=rstd, alpha=alpha[column])
                computed.terms.append(term)
                tape.nodes[target].append(
                    Entry(term=term, computed=computed, branch=branch, column=column)
                )

    def _compute(self, group: Group, source: Tensor, how: Pass) -> Computed:
        kernels, computed = self.kernels, Computed(group=group)
        if group.halves:
            for half in group.halves:
                self._convolve(half, source, computed, how)
        elif group.norm is not None:
            norm = self._norm(group.norm, how)
            computed.norms.append(norm)
            if group.parts:
                parts = tuple(
                    (run.of(self.vectors.weights), offset) for offset, run in enumerate(group.parts)
                )
                computed.lattice = Lattice(source=source, parts=parts, stride=group.stride)
                computed.results.append(kernels.lattice_forward(computed.lattice, norm))
            else:
                kind = group.operation[:3]
                computed.results.append(kernels.pooling_forward(source, kind, group.stride, norm))
        return computed

    def _convolve(self, half: Half, source: Tensor, computed: Computed, how: Pass) -> None:
        """One half of a separable convolution, or a dilated one."""
        second = bool(computed.results)
        convolution = Convolution(
            source=computed.results[-1] if second else source,
            norm=computed.norms[-1] if second else None,
            depthwise=half.depthwise.of(self.vectors.weights),
            pointwise=half.pointwise.of(self.vectors.weights),
            stride=half.stride,
            dilation=half.dilation,
        )
        norm = self._norm(half.norm, how)
        middle, result = self.kernels.convolution_forward(
            convolution, norm, keep=how.keep and how.weight_gradients
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
        how: Pass,
    ) -> None:
        """Send a gradient back through the cell and release its memory.

        Args:
            tape: Of the forward pass.
            gradient: Of the output; used as working memory.
            to_previous: Where the gradients of the two inputs are added, or None.
            alpha_gradient: Where the gradients of the softmaxed α are added, flat, float64.
            how: The pass.
        """
        plan, kernels, c = self.plan, self.kernels, self.plan.channels
        nodes = [gradient[..., k * c : (k + 1) * c] for k in range(plan.nodes)]
        inputs = [kernels.empty(*s.shape, like=s).zero_() for s in tape.sources[:2]]
        for source in reversed(range(2 + plan.nodes)):
            into = inputs[source] if source < 2 else nodes[source - 2]
            for computed in tape.computed[source]:
                self._send(computed, tape.sources[source], nodes, into, how)
            if source >= 2:
                self._unmix(tape, source - 2, nodes, alpha_gradient)
        for (lattice, result, norm), reached, to, taken in zip(
            tape.inputs, inputs, to_previous, plan.inputs, strict=True
        ):
            self._give_back(lattice, result, norm, reached, to, taken, how)
        kernels.release(*inputs)
        self._release(tape)

    def _unmix(self, tape: Tape, node: int, nodes: list[Tensor], alpha_gradient: Tensor) -> None:
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

    def _send(
        self,
        computed: Computed,
        source: Tensor,
        nodes: list[Tensor],
        into: Tensor,
        how: Pass,
    ) -> None:
        """Send the gradients of a group's branches to its source."""
        group, kernels = computed.group, self.kernels
        reached = [nodes[target] for target in group.targets]
        if group.identity:
            for term, gradient in zip(computed.terms, reached, strict=True):
                kernels.identity_backward(term, gradient, into)
            return
        upstream = Upstream(gradients=reached, coefficients=computed.norms[-1].coefficients)
        if group.halves:
            self._send_through_halves(computed, upstream, into, how)
        elif computed.lattice is not None:
            kernels.lattice_backward(
                computed.lattice,
                computed.results[0],
                upstream,
                source_gradient=into,
                weight_gradients=self._gradients(group.parts, how),
            )
        else:
            kind = group.operation[:3]
            kernels.pooling_backward(
                source, kind, group.stride, computed.results[0], upstream, into
            )

    def _send_through_halves(
        self, computed: Computed, upstream: Upstream, into: Tensor, how: Pass
    ) -> None:
        kernels = self.kernels
        for place in reversed(range(len(computed.convolutions))):
            half = computed.group.halves[place]
            wanted = self._gradients((half.depthwise, half.pointwise), how)
            between = kernels.convolution_backward(
                computed.convolutions[place],
                computed.middles[place],
                computed.results[place],
                upstream,
                source_gradient=into if place == 0 else None,
                weight_gradients=None if wanted is None else (wanted[0], wanted[1]),
            )
            kernels.release(upstream.memory)
            if between is not None:
                upstream = between

    def _give_back(
        self,
        lattice: Lattice,
        result: Tensor,
        norm: Norm,
        reached: Tensor,
        to: Tensor | None,
        taken: Input,
        how: Pass,
    ) -> None:
        """Send the gradient of a source through the convolution that made it."""
        wanted = self._gradients(taken.parts, how)
        if to is None and wanted is None:
            return
        self.kernels.mix_backward([_input_term(result, norm)], reached, [norm.coefficients[0]])
        self.kernels.lattice_backward(
            lattice,
            result,
            Upstream(gradients=[reached], coefficients=norm.coefficients),
            source_gradient=to,
            weight_gradients=wanted,
        )

    def _gradients(self, runs: tuple[Run, ...], how: Pass) -> list[Tensor] | None:
        if not how.weight_gradients or self.vectors.gradient is None:
            return None
        return [run.of(self.vectors.gradient) for run in runs]

    def _norm(self, run: Run, how: Pass) -> Norm:
        branches, channels = run.shape
        wide = Run(start=3 * run.start, shape=(branches, 3, channels))
        return Norm(
            mean=run.of(how.statistics.mean),
            rstd=run.of(how.statistics.rstd),
            coefficients=wide.of(how.statistics.coefficients),
            running_mean=run.of(self.vectors.running_mean),
            running_variance=run.of(self.vectors.running_variance),
            training=how.training,
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
