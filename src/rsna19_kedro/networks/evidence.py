"""Where in a slice the evidence for each class lies: from the same pass, without gradients.

The head is linear on the global average and maximum of the combined maps. So a logit less its
bias is a sum over pixels: each pixel gives its share of the averages, and the pixel that holds
a map's maximum gives that maximum's part. A network with a decoder has masks instead.
"""

import torch
from torch import Tensor, nn

from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.networks.slice_network import Maps, Output, SliceNetwork


@torch.autocast("cuda", enabled=False)
@torch.autocast("cpu", enabled=False)
def class_evidence(network: SliceNetwork, combined: Maps, output: Output) -> Tensor:
    """Evidence per pixel.

    Args:
        network: The network.
        combined: Its combined maps, the last ``(V, S, E, h, w)``.
        output: What ``classify`` made of them.

    Returns:
        ``(V, S, 6, h, w)`` float32. Without a decoder, the sum over pixels plus the head's bias
        is the logit; with one, the probability of the class's mask (of any blood for ``any``).
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
    highest, place = flat.max(dim=3, keepdim=True)
    peaks = torch.zeros_like(flat).scatter_(3, place, highest).view_as(maps)
    return average + torch.einsum("ce,vsehw->vschw", of_maximum, peaks)
