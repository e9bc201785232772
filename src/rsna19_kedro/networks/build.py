"""Build a model's network and set its initial weights."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from rsna19_kedro.networks.encoders import ENCODERS, stem_of_channels
from rsna19_kedro.networks.segmentation_network import SegmentationNetwork
from rsna19_kedro.networks.slice_network import SliceNetwork
from rsna19_kedro.networks.zoo import ModelSpec

_ENCODER = "encoder."


def build_network(spec: ModelSpec, **options: Any) -> SliceNetwork:
    """Build the network of a model; the options are those of ``SliceNetwork``."""
    return (SegmentationNetwork if spec.decoder else SliceNetwork)(spec, **options)


def start_from(network: SliceNetwork, weights: Mapping[str, Tensor]) -> None:
    """Copy the encoder weights of a network of 3 slices and of the same architecture.

    Combiner and head are unchanged. A stem with more channels gets the weights in its
    middle channels (docs/reference.md#channels-family), that is, of the middle slices.

    Args:
        network: Changed in place.
        weights: The other network's ``state_dict``.
    """
    encoder = {
        name.removeprefix(_ENCODER): value
        for name, value in weights.items()
        if name.startswith(_ENCODER)
    }
    stem = f"{ENCODERS[network.spec.encoder].first_conv}.weight"
    channels = network.encoder.state_dict()[stem].shape[1]
    if encoder[stem].shape[1] != channels:
        encoder[stem] = stem_of_channels(encoder[stem], channels)
    network.encoder.load_state_dict(encoder)
