"""The slice network with a segmentation branch, whose mask areas are used to classify.

See docs/reference.md#networks.
"""

import torch
from torch import Tensor, nn

from rsna19_kedro.contracts import AREAS, CLASSES
from rsna19_kedro.networks.encoders import ENCODERS, global_pool
from rsna19_kedro.networks.slice_network import Combiner, Maps, Output, SliceNetwork

MASK_CLASSES = len(AREAS)
"""Number of masks: the five types, unclassified blood, any blood."""

MASK_STRIDE = 4
"""Side of a mask pixel, in pixels of the input."""

_HIDDEN = 256


class SeparableConv(nn.Sequential):
    """3x3 depthwise and 1x1 pointwise convolution, batch norm, ReLU."""

    def __init__(self, features: int, out: int) -> None:
        super().__init__(
            nn.Conv2d(features, features, 3, padding=1, groups=features),
            nn.Conv2d(features, out, 1),
            nn.BatchNorm2d(out),
            nn.ReLU(inplace=True),
        )


class DecoderBlock(nn.Module):
    """Bilinear upsampling by 2, then two separable convolutions.

    Args:
        features: Channels of the coarser map.
        out: Channels of the result.
    """

    def __init__(self, features: int, out: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(SeparableConv(features, out), SeparableConv(out, out))

    def forward(self, maps: Tensor, size: tuple[int, int]) -> Tensor:
        """Upsample ``(N, F, h, w)`` to ``(N, out, *size)``."""
        larger = nn.functional.interpolate(maps, size=size, mode="bilinear", align_corners=False)
        return self.convs(larger)


class SegmentationNetwork(SliceNetwork):
    """Slice network that also predicts masks.

    The encoder's last three levels are combined over the slices and decoded. The areas of the
    seven predicted masks are appended to the pooled features of the last level.
    """

    def _build(self, features: int) -> None:
        combined = self.spec.combined_features
        assert combined is not None
        self.levels = ENCODERS[self.spec.encoder].levels
        # 128, 256 and 512 features become 64, 128 and 256.
        self.combiners = nn.ModuleList(
            Combiner(features // part, combined // part, self.spec) for part in (4, 2, 1)
        )
        self.decoder = nn.ModuleList(
            [
                DecoderBlock(combined, combined // 2),
                DecoderBlock(combined, combined // 4),
                DecoderBlock(combined // 2, combined // 8),
            ]
        )
        self.mask_head = nn.Conv2d(combined // 8, MASK_CLASSES, 1)
        self.head = nn.Sequential(
            nn.Linear(2 * combined + MASK_CLASSES, _HIDDEN),
            nn.ReLU(),
            nn.Linear(_HIDDEN, len(CLASSES)),
        )

    def encode_stacks(self, stacks: Tensor) -> Maps:
        """Feature maps of the three levels, fine to coarse."""
        maps = self.encoder.forward_intermediates(  # type: ignore[operator]
            self.channels_of(stacks), indices=self.levels, intermediates_only=True
        )
        return tuple(maps)

    def combine(self, maps: Maps, *, tap_distance: int | None = None) -> Maps:
        """Combined maps of the three levels, fine to coarse."""
        return tuple(
            combiner(level, tap_distance=tap_distance)
            for combiner, level in zip(self.combiners, maps, strict=True)
        )

    def classify(self, combined: Maps) -> Output:
        """Predict masks, and logits from pooled features and mask areas."""
        batch, slices = combined[-1].shape[:2]
        fine, middle, coarse = (level.flatten(0, 1) for level in combined)
        masks = self._decode(fine, middle, coarse)
        # At least single precision: half precision cannot sum a few thousand pixels.
        single = torch.promote_types(masks.dtype, torch.float32)
        areas = torch.sigmoid(masks.to(single)).sum(dim=(2, 3))
        pooled = torch.cat([global_pool(coarse), areas.to(coarse.dtype)], dim=1)
        logits = self.head(self.dropout(pooled))
        shape = (batch, slices)
        return Output(logits.unflatten(0, shape), masks.unflatten(0, shape))

    def _decode(self, fine: Tensor, middle: Tensor, coarse: Tensor) -> Tensor:
        first, second, third = self.decoder
        maps = first(coarse, middle.shape[-2:])
        maps = second(torch.cat([maps, middle], dim=1), fine.shape[-2:])
        size = (2 * fine.shape[-2], 2 * fine.shape[-1])
        maps = third(torch.cat([maps, fine], dim=1), size)
        return self.mask_head(maps)
