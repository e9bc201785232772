"""Architectures of the first-level models by name. Their recipes are in YAML.

See docs/reference.md#networks. This module holds only data, so that importing it does not load
torch.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from rsna19_kedro.errors import ParameterError

SMALL: Final = "small_400"
"""The small model, which this package contains trained on synthetic heads only."""

PACKAGED: Final = Path(__file__).parent / "pretrained"
"""Folder of its checkpoint (made by ``benchmarks/small_model.py``), laid out like
``data/06_models``."""

SMALL_CHECKPOINT: Final = PACKAGED / SMALL / "fold_0" / "checkpoint.safetensors"

SYNTHETIC: Final = "synthetic"
"""Initial weights of a recipe: those of the small model's encoder."""


SIDE_MULTIPLES: Final = {"maxvit_tiny_tf_384": 32, "maxvit_tiny_tf_512": 32}
"""Encoders that are built for one side of the input, which is a multiple of this, in pixels."""


def check_side(encoder: str, side_px: int) -> None:
    """Refuse an input whose side does not fit the encoder.

    Raises:
        ParameterError: The side is not a multiple of that of ``SIDE_MULTIPLES``.
    """
    multiple = SIDE_MULTIPLES.get(encoder, 1)
    if side_px % multiple:
        lower = side_px // multiple * multiple
        near = [str(side) for side in (lower, lower + multiple) if side]
        raise ParameterError(
            f"The encoder {encoder} needs an input whose side is a multiple of {multiple} px, "
            f"such as {' or '.join(near)}, not {side_px}. Change input.crop_px or input.resize_px."
        )


@dataclass(frozen=True)
class ModelSpec:
    """One first-level model.

    Attributes:
        name: Name of the model, of its namespace and of its parameters.
        encoder: Name of the encoder in ``networks.encoders``.
        channels: Neighbouring slices that enter the encoder as channels (odd); with windows, each
            slice has one channel per window.
        taps: Feature maps that the combiner joins over the slice axis (odd); 1 without combiner.
        dilation: Distance of the taps in slices.
        combined_features: Feature maps after the combiner; ``None`` without a combiner.
        combiner_start: ``centre``: side taps and bias start at 0, so that a network trained on
            single slices gives the same output on windows; ``random``: PyTorch's default.
        new_stem: Whether the first convolution starts from random instead of pretrained
            weights.
        decoder: Whether a segmentation branch is added.
        labels: Table of labels and folds for training.
        validation_labels: Table for validation during training; ``None`` for the same.
        starts_from: Model whose encoder, of the same fold, gives the initial weights.
        only_starts_others: Whether ``models: all`` trains it only to initialise other models;
            it is then not predicted and not part of the second level
            (docs/reference.md#second-level).
        reference: Whether it belongs to the reference solution, and so to ``models: all``.
    """

    name: str
    encoder: str
    channels: int
    taps: int = 1
    dilation: int = 1
    combined_features: int | None = None
    combiner_start: Literal["centre", "random"] = "centre"
    new_stem: bool = False
    decoder: bool = False
    labels: str = "folds"
    validation_labels: str | None = None
    starts_from: str | None = None
    only_starts_others: bool = False
    reference: bool = True

    @property
    def window(self) -> int:
        """Neighbouring slices that one slice's prediction depends on (odd)."""
        return self.channels + (self.taps - 1) * self.dilation


def _planes(
    name: str, encoder: str, combined: int, labels: str = "folds_rev3", **options: bool | str
) -> ModelSpec:
    """Planes family: single slices through the encoder, the maps of 5 neighbours combined."""
    return ModelSpec(
        name,
        encoder,
        channels=1,
        taps=5,
        combined_features=combined,
        new_stem=True,
        labels=labels,
        **options,  # type: ignore[arg-type]
    )


def _branches(name: str, dilation: int, labels: str) -> ModelSpec:
    """Channels family: three branches of 3 channels, joined by a 1x1 convolution (three taps)."""
    return ModelSpec(
        name,
        "resnet34",
        channels=3,
        taps=3,
        dilation=dilation,
        combined_features=256,
        combiner_start="random",
        labels=labels,
        starts_from="clf2Dc_resnet34_3c",
    )


_MODELS = (
    _planes("resnet18_400", "resnet18", 256),
    _planes("resnet34_400_5_planes_combine_last_var_dr0", "resnet34", 256),
    _planes("airnet50_384", "airnet50", 128),
    _planes("se_preresnext26b_400", "sepreresnetbc26b", 128, labels="folds_test_rev3"),
    _planes("resnext50_400", "seresnext50", 256, labels="folds_test_rev3"),
    _planes("resnet18_384_5_planes_bn_f8", "resnet18", 256, decoder=True),
    _planes("dpn68_384_5_planes_combine_last", "dpn68b", 256, combiner_start="random"),
    ModelSpec("clf2Dc_resnet34_3c", "resnet34", channels=3, only_starts_others=True),
    ModelSpec("clf2Dc_resnet50_3c_384", "seresnext50", channels=3, only_starts_others=True),
    _branches("clf2Dc_resnet34_3x3", dilation=3, labels="folds"),
    ModelSpec(
        "clf2Dc_resnet50_7c_400",
        "seresnext50",
        channels=7,
        labels="folds_rev3",
        validation_labels="folds",
        starts_from="clf2Dc_resnet50_3c_384",
    ),
    _branches("clf2Dc_resnet34_3x3_2", dilation=3, labels="folds_test"),
    _branches("clf2Dc_resnet34_3x3_5_slices", dilation=1, labels="folds_test"),
    _planes(SMALL, "resnet18_3_stages", 128, labels="folds", reference=False),
    ModelSpec("maxvit_tiny_384", "maxvit_tiny_tf_384", channels=3, reference=False),
)

ZOO: dict[str, ModelSpec] = {spec.name: spec for spec in _MODELS}
"""All models, ancestors before their descendants."""


def ancestors_of(name: str) -> tuple[str, ...]:
    """Return the models that a model starts from, nearest first."""
    parent = ZOO[name].starts_from
    return () if parent is None else (parent, *ancestors_of(parent))
