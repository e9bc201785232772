"""Networks that read the slices of a whole study as a sequence."""

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.ensemble.gru import bidirectional_gru
from rsna19_kedro.ensemble.network_fit import Standardise

Body = Literal["gru", "transformer"]

_HEADS = 4


class SequenceNetwork(nn.Module):
    """The mean of the models, corrected by the predictions in the rest of the study.

    Logits are ``scale * logit(mean) + correction(whole study)``. Training starts from the
    plain mean: scale is initialised to 1, the correction to 0.

    Args:
        features: Features per slice.
        body: ``gru`` (both directions) or ``transformer`` (encoder with sinusoidal positions).
        width: Hidden units per direction.
        layers: Layers of the body.
        dropout: Dropout probability of hidden units.
    """

    def __init__(self, features: int, body: Body, width: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.standardise = Standardise(features)
        self.inlet = nn.Linear(features, width)
        self.body: _Recurrent | _Attentive
        if body == "gru":
            self.body = _Recurrent(width, layers, dropout)
        else:
            self.body = _Attentive(width, layers, dropout)
        self.dropout = nn.Dropout(dropout)
        self.outlet = nn.Linear(self.body.width, len(CLASSES))
        nn.init.zeros_(self.outlet.weight)
        nn.init.zeros_(self.outlet.bias)
        self.scale = nn.Parameter(torch.ones(len(CLASSES)))

    def forward(self, features: Tensor, mean_logits: Tensor, lengths: Tensor) -> Tensor:
        """Compute the logits of all slices except padding.

        Args:
            features: ``(B, S, F)``, padded at the end.
            mean_logits: ``(B, S, 6)`` logits of the models' mean, padded likewise.
            lengths: ``(B,)`` slices per study, at most S.

        Returns:
            ``(sum of lengths, 6)``, study after study. The values of the padding have no effect.
        """
        is_slice = torch.arange(features.shape[1], device=features.device) < lengths[:, None]
        hidden = torch.relu(self.inlet(self.standardise(features)))
        hidden = self.body(self.dropout(hidden), lengths, is_slice)
        correction: Tensor = self.outlet(self.dropout(hidden))
        return (self.scale * mean_logits + correction)[is_slice]


class _Recurrent(nn.Module):
    """Bidirectional GRU on packed sequences, so that padding is never read."""

    def __init__(self, width: int, layers: int, dropout: float) -> None:
        super().__init__()
        between = dropout if layers > 1 else 0.0
        self.width = 2 * width
        self.units = nn.GRU(
            width, width, layers, batch_first=True, dropout=between, bidirectional=True
        )

    def forward(self, hidden: Tensor, lengths: Tensor, is_slice: Tensor) -> Tensor:
        if not hidden.is_cuda and self.units.num_layers == 1:
            return bidirectional_gru(self.units, hidden, lengths)
        packed = pack_padded_sequence(hidden, lengths.cpu(), True, enforce_sorted=False)
        output, _ = pad_packed_sequence(self.units(packed)[0], True, total_length=is_slice.shape[1])
        result: Tensor = output
        return result


class _Attentive(nn.Module):
    """Transformer encoder with masked padding."""

    def __init__(self, width: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.width = width
        layer = nn.TransformerEncoderLayer(
            width, _HEADS, 2 * width, dropout, batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)

    def forward(self, hidden: Tensor, lengths: Tensor, is_slice: Tensor) -> Tensor:
        positioned = hidden + _positions(hidden.shape[1], self.width, hidden)
        output: Tensor = self.encoder(positioned, src_key_padding_mask=~is_slice)
        return output


def _positions(slices: int, width: int, like: Tensor) -> Tensor:
    """Sinusoidal position encoding of the slice number, ``(S, width)`` (Vaswani et al., 2017)."""
    number = torch.arange(slices, dtype=like.dtype, device=like.device)[:, None]
    half = torch.arange(0, width, 2, dtype=like.dtype, device=like.device)
    angle = number * torch.exp(-math.log(1000.0) * half / width)
    return torch.cat([angle.sin(), angle.cos()], dim=1)[:, :width]
