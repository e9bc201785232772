"""The detector's two networks, with the names and shapes of its published tensors.

Source: model card and configuration of ``release.REPOSITORY``.
"""

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor, nn

from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.errors import ModelError

ENCODER: Final = "maxvit_tiny_tf_512"
CHANNELS: Final = 9
FEATURES: Final = 512
_NAMED: Final = 3


class SliceClassifier(nn.Module):
    """Classifies a slice from three windows of itself and its two neighbours."""

    def __init__(self) -> None:
        super().__init__()
        import timm

        self.backbone = timm.create_model(ENCODER, in_chans=CHANNELS, num_classes=0, global_pool="")
        self.linear = nn.Linear(FEATURES, len(CLASSES))

    def forward(self, stacks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Predict slices.

        Args:
            stacks: ``(N, 9, 512, 512)`` in [0, 1], see ``slice_input``.

        Returns:
            Embeddings ``(N, 512)``, logits ``(N, 6)`` and class activation maps
            ``(N, 6, 16, 16)``: the mean of a map plus the bias is the logit.
        """
        features = self.backbone(2 * stacks - 1)
        maps = torch.einsum("cf,nfhw->nchw", self.linear.weight, features)
        embedding = features.mean(dim=(2, 3))
        return embedding, self.linear(embedding), maps


class AttentionPool(nn.Module):
    """Pools a series to one embedding per class, and classifies each."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.Sequential(
            nn.Linear(FEATURES, 128), nn.Tanh(), nn.Linear(128, len(CLASSES))
        )
        self.classifier_weight = nn.Parameter(torch.empty(len(CLASSES), FEATURES))
        self.classifier_bias = nn.Parameter(torch.empty(len(CLASSES)))

    def forward(self, embeddings: Tensor) -> Tensor:
        """Logits ``(6,)`` of embeddings ``(S, 512)``."""
        weights = self.attention(embeddings).softmax(dim=0)
        pooled = weights.T @ embeddings
        return (pooled * self.classifier_weight).sum(dim=1) + self.classifier_bias


class SequenceNetwork(nn.Module):
    """Reclassifies the slices of a series in their context, and the series as a whole."""

    def __init__(self) -> None:
        super().__init__()
        self.input_norm = nn.LayerNorm(FEATURES)
        self.projection = nn.Linear(FEATURES, FEATURES)
        self.projection_norm = nn.LayerNorm(FEATURES)
        self.sequence = nn.GRU(
            FEATURES + 1, FEATURES // 2, num_layers=2, batch_first=True, bidirectional=True
        )
        self.slice_head = nn.Linear(FEATURES, len(CLASSES))
        self.sequence_pool = AttentionPool()
        self.mil_pool = AttentionPool()  # A diagnostic of its authors, not used here.

    def forward(self, embeddings: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Predict a series.

        Args:
            embeddings: ``(S, 512)`` from feet to head.
            positions: ``(S,)`` slice number divided by the highest one, 0 for a single slice.

        Returns:
            Logits of the slices ``(S, 6)`` and of the series ``(6,)``.
        """
        projected = nn.functional.gelu(self.projection(self.input_norm(embeddings)))
        projected = self.projection_norm(projected)
        steps = torch.cat([projected, positions[:, None]], dim=1)
        context = self.sequence(steps[None])[0][0]
        return self.slice_head(context), self.sequence_pool(context)


def load_weights(network: nn.Module, tensors: Mapping[str, Tensor], file: str) -> None:
    """Load published weights after comparing all names and shapes; sets evaluation mode.

    Args:
        network: One of the networks of this module.
        tensors: Content of the file.
        file: Name of the file, for messages.

    Raises:
        ModelError: Tensors are missing, unknown, of another shape, or not finite; one sentence
            for each of the first three.
    """
    expected = network.state_dict()
    wrong = [f"{name} is missing" for name in expected if name not in tensors]
    wrong += [f"{name} is unknown" for name in tensors if name not in expected]
    wrong += [
        f"{name} has the shape {_shape(value)} instead of {_shape(expected[name])}"
        for name, value in tensors.items()
        if name in expected and value.shape != expected[name].shape
    ]
    wrong += [
        f"{name} holds values that are not finite"
        for name, value in tensors.items()
        if value.is_floating_point() and not value.isfinite().all()
    ]
    if wrong:
        rest = len(wrong) - _NAMED
        more = f" and {rest} more" if rest > 0 else ""
        raise ModelError(f"{file} does not fit the detector: {'; '.join(wrong[:_NAMED])}{more}.")
    network.load_state_dict(tensors)
    network.eval()


def _shape(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "a single number"
