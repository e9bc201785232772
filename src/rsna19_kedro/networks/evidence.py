"""Class activation maps from the forward pass, without gradients.

The head is linear in the global average and maximum of the combined maps. A logit without its
bias is therefore a sum over pixels: each pixel adds its share of the averages, and the pixel with
a map's maximum adds the term of that maximum. A network with a decoder uses its masks instead.
"""

import torch
from torch import Tensor, nn

from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.networks.slice_network import Maps, Output, SliceNetwork


@torch.autocast("cuda", enabled=False)
@torch.autocast("cpu", enabled=False)
def class_evidence(network: SliceNetwork, combined: Maps, output: Output) -> Tensor:
    """Return a class activation map per class.

    Args:
        network: The network.
        combined: Its combined maps, the last ``(V, S, E, h, w)``.
        output: Output of ``classify`` for these maps.

    Returns:
        ``(V, S, 6, h, w)`` float32. Without a decoder, the sum over pixels plus the head's bias
        is the logit. With a decoder, the predicted mask of the class (any blood for ``any``).
    """
    if output.masks is not None:
        types = output.masks[:, :, : len(CLASSES) - 1]
        return torch.sigmoid(torch.cat([types, output.masks[:, :, -1:]], dim=2).float())
    maps = combined[-1].float()
    assert isinstance(network.head, nn.Linear)
    weight = network.head.weight.float()  # (6, 2E)
    of_average, of_maximum = weight.chunk(2, dim=1)
    average = torch.einsum("ce,vsehw->vschw", of_average, maps) / maps[0, 0, 0].numel()
    flat = maps.flatten(3)
    highest, index = flat.max(dim=3, keepdim=True)
    peaks = torch.zeros_like(flat).scatter_(3, index, highest).view_as(maps)
    return average + torch.einsum("ce,vsehw->vschw", of_maximum, peaks)
