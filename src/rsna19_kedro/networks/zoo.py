"""The first-level models by name: what each network is made of. Recipes are in YAML, not here.

Reference, sections 4a and 4b. This module holds data only, so that asking for a model's name
does not load torch.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class ModelSpec:
    """One first-level model.

    Attributes:
        name: Name of the model, of its namespace and of its parameter file's key.
        encoder: Name of the encoder in ``networks.encoders``.
        channels: Neighbouring slices that enter the encoder as channels (odd).
        taps: Feature maps that the combiner joins over the slice axis (odd); 1 for none.
        dilation: Distance of the taps in slices.
        combined_features: Feature maps after the combiner; ``None`` without a combiner.
        new_stem: Whether the first convolution and its norm start at random rather than from
            the encoder's own weights.
        labels: Table of labels and folds that it is trained on.
        starts_from: Model whose checkpoint of the same fold is the initial weights.
    """

    name: str
    encoder: str
    channels: int
    taps: int = 1
    dilation: int = 1
    combined_features: int | None = None
    new_stem: bool = False
    labels: str = "folds"
    starts_from: str | None = None

    @property
    def window(self) -> int:
        """Neighbouring slices that one slice's prediction depends on (odd)."""
        return self.channels + (self.taps - 1) * self.dilation


_MODELS = (
    ModelSpec(
        name="resnet18_400",
        encoder="resnet18",
        channels=1,
        taps=5,
        combined_features=256,
        new_stem=True,
        labels="folds_rev3",
    ),
    ModelSpec(name="clf2Dc_resnet34_3c", encoder="resnet34", channels=3, labels="folds"),
)

ZOO: dict[str, ModelSpec] = {spec.name: spec for spec in _MODELS}
"""All models, ancestors before their descendants."""


def ancestors_of(name: str) -> tuple[str, ...]:
    """Models that the named one starts from, nearest first."""
    parent = ZOO[name].starts_from
    return () if parent is None else (parent, *ancestors_of(parent))
