"""One bidirectional GRU layer on the CPU with an analytic gradient.

PyTorch's CPU kernel records some thirty autograd nodes per step and direction. Here one step is
six operations forward and three backward, for both directions at once.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


def bidirectional_gru(units: nn.GRU, inputs: Tensor, lengths: Tensor) -> Tensor:
    """Compute what ``units`` computes from packed sequences.

    Args:
        units: A GRU of one layer, bidirectional and with biases.
        inputs: ``(B, S, F)``, padded at the end; the padding has no effect on the slices.
        lengths: ``(B,)`` slices per study, at most S.

    Returns:
        ``(B, S, 2 * width)``; the values of the padding have no meaning.
    """
    steps = torch.arange(inputs.shape[1], device=inputs.device)
    # Reversed within each study, so that the padding is last in both directions.
    turned = (lengths.to(inputs.device)[:, None] - 1 - steps) % inputs.shape[1]
    studies = torch.arange(len(inputs), device=inputs.device)[:, None]
    backward = inputs[studies, turned]
    named = dict(units.named_parameters())
    projected, hidden = [], []
    for part, suffix in ((inputs, ""), (backward, "_reverse")):
        weight, bias = named[f"weight_ih_l0{suffix}"], named[f"bias_ih_l0{suffix}"]
        projected.append(nn.functional.linear(part, weight, bias).transpose(0, 1))
        hidden.append((named[f"weight_hh_l0{suffix}"], named[f"bias_hh_l0{suffix}"]))
    weights, biases = (torch.stack(tensors) for tensors in zip(*hidden, strict=True))
    states: Tensor = _Recurrence.apply(torch.stack(projected, dim=1), weights, biases)
    forward, turned_back = states.permute(1, 2, 0, 3)
    return torch.cat([forward, turned_back[studies, turned]], dim=-1)


class _Recurrence(torch.autograd.Function):
    """Hidden states of both directions, ``(S, 2, B, H)``; the initial state is 0."""

    @staticmethod
    def forward(ctx: Any, projected: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Run the steps.

        Args:
            ctx: Keeps what the gradient needs.
            projected: ``(S, 2, B, 3 H)`` inputs times input weights, for reset, update and new.
            weight: ``(2, 3 H, H)`` hidden weights.
            bias: ``(2, 3 H)`` hidden biases.
        """
        width = weight.shape[-1]
        hidden = projected.new_empty(projected.shape)
        gates = projected.new_empty((*projected.shape[:-1], 2 * width))
        new = projected.new_empty((*projected.shape[:-1], width))
        states = projected.new_zeros((len(projected) + 1, *new.shape[1:]))
        each, shift = weight.transpose(1, 2), bias[:, None]
        views = zip(
            states[:-1].unbind(),
            states[1:].unbind(),
            *(
                hidden.unbind(),
                hidden[..., : 2 * width].unbind(),
                hidden[..., 2 * width :].unbind(),
            ),
            *(projected[..., : 2 * width].unbind(), projected[..., 2 * width :].unbind()),
            *(gates.unbind(), gates[..., :width].unbind(), gates[..., width:].unbind()),
            new.unbind(),
            strict=True,
        )
        for before, after, both, both_gates, both_new, of_gates, of_new, gate, r, z, n in views:
            torch.baddbmm(shift, before, each, out=both)
            torch.add(of_gates, both_gates, out=gate).sigmoid_()
            torch.addcmul(of_new, r, both_new, out=n).tanh_()
            torch.lerp(n, before, z, out=after)
        ctx.save_for_backward(weight, hidden[..., 2 * width :], gates, new, states)
        return states[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gradients of the three inputs."""
        weight, hidden_new, gates, new, states = ctx.saved_tensors
        reset, update = gates.chunk(2, dim=-1)
        by_new = (1 - update) * (1 - new * new)
        slopes = torch.cat(
            [
                by_new * hidden_new * reset * (1 - reset),
                (states[:-1] - new) * update * (1 - update),
                by_new * reset,
            ],
            dim=-1,
        )
        by_hidden = torch.empty_like(slopes)
        by_state = torch.empty_like(new)
        by_state[-1] = gradient[-1]
        shape = (*new.shape[1:3], 3, new.shape[3])
        steps = zip(
            by_hidden.unbind(), slopes.unbind(), by_state.unbind(), update.unbind(), strict=True
        )
        earlier = [None, *zip(gradient[:-1].unbind(), by_state[:-1].unbind(), strict=True)]
        for (of_hidden, slope, of_state, z), target in reversed(
            list(zip(steps, earlier, strict=True))
        ):
            torch.mul(of_state.unsqueeze(2), slope.view(shape), out=of_hidden.view(shape))
            if target is not None:
                torch.addcmul(target[0], of_state, z, out=target[1]).baddbmm_(of_hidden, weight)
        flat = by_hidden.permute(1, 3, 0, 2).flatten(2)
        by_weight = flat @ states[:-1].permute(1, 0, 2, 3).flatten(1, 2)
        by_projected = torch.cat([by_hidden[..., : 2 * len(new[0, 0, 0])], by_state * by_new], -1)
        return by_projected, by_weight, flat.sum(dim=-1)
