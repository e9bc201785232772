"""Random weights in the form of the public detector."""

import hashlib
import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.detector.networks import SequenceNetwork, SliceClassifier
from rsna19_kedro.detector.release import CHECKSUMS, CLASSIFIER, CONFIG, SEQUENCE


def random_network(network: nn.Module, seed: int = 0) -> nn.Module:
    """Fill a network with random weights whose outputs differ between slices."""
    generator = torch.Generator().manual_seed(seed)
    for name, values in network.state_dict().items():
        if name.endswith("running_var"):
            values.uniform_(0.5, 1.5, generator=generator)
        elif values.is_floating_point() and values.ndim > 1:
            fan_in = values[0].numel()
            values.normal_(0, 1.5 / fan_in**0.5, generator=generator)
        elif values.is_floating_point() and not name.endswith("weight"):
            values.normal_(0, 0.1, generator=generator)
    return network.eval()


def write_weights(folder: Path, name: str, tensors: dict[str, torch.Tensor]) -> None:
    """Write one file of weights and list it in ``checksums.json``."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({key: value.contiguous() for key, value in tensors.items()}, path)
    list_file(folder, name)


def list_file(folder: Path, name: str) -> None:
    """Enter a file, as it is, into ``checksums.json``."""
    checksums = folder / CHECKSUMS
    records = json.loads(checksums.read_text()) if checksums.is_file() else []
    content = (folder / name).read_bytes()
    records = [record for record in records if record["path"] != name]
    digest = hashlib.sha256(content).hexdigest()
    records.append({"path": name, "size_bytes": len(content), "sha256": digest})
    checksums.write_text(json.dumps(records))


def write_config(folder: Path, **changes: object) -> None:
    """Write ``config.json``."""
    config = {"model_type": "ct_head_hemorrhage_detection", "labels": CLASSES, "weights": "random"}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(json.dumps(config | changes))


def write_release(folder: Path) -> None:
    """Write a whole release (125 MB)."""
    write_config(folder)
    write_weights(folder, CLASSIFIER, random_network(SliceClassifier()).state_dict())
    write_weights(folder, SEQUENCE, random_network(SequenceNetwork()).state_dict())


def write_small_release(folder: Path) -> None:
    """Write the files of a release with a classifier of one tensor, for tests of the files."""
    write_config(folder)
    write_weights(folder, CLASSIFIER, {"linear.weight": torch.zeros(6, 512)})
    write_weights(folder, SEQUENCE, {"linear.weight": torch.zeros(6, 512)})
