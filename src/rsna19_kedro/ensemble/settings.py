"""Settings of second-level models; a misspelt key is an error that names it.

Those of the networks stand here rather than beside them: parameters are read when pipelines are
wired, and torch takes seconds to import.
"""

from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator

from rsna19_kedro.strict import Strict

if TYPE_CHECKING:
    from rsna19_kedro.ensemble.mlp import MLPCandidate
    from rsna19_kedro.ensemble.sequence import SequenceCandidate

Beyond = Literal["zeros", "edge"]


class WindowOptions(Strict):
    """What is known of a slice when it is judged by its neighbourhood.

    Attributes:
        radius: Slices on either side whose predictions, of every model, are features.
        mean_radius: The same for the mean of the models, on the given scale, which costs a
            column a class instead of one a class and model; ``None`` leaves the mean out.
        beyond: What stands beyond the ends of a study: ``zeros`` (probability 0, as in the
            reference) or ``edge`` (the first or last slice again).
        scale: Probabilities, or their logits.
        position: Add the place in the study, 0 at the feet to 1 at the head.
        length: Add the number of slices of the study.
        agreement: Add the standard deviation between models, a class each.
        areas: Add how much of the slice the masks cover that a model with masks predicts
            (decimal logarithm of the share, -5 at least): five types, unclassified and any.
    """

    radius: int = Field(2, ge=0, le=9)
    mean_radius: int | None = Field(None, ge=0, le=20)
    beyond: Beyond = "zeros"
    scale: Literal["probability", "logit"] = "probability"
    position: bool = False
    length: bool = False
    agreement: bool = False
    areas: bool = False


class NetworkSettings(Strict):
    """How a network of the second level is trained.

    Attributes:
        epochs: Passes over the training data, if that gives more steps than ``least_steps``.
        least_steps: Steps that are made at least, however few data there are.
        batch: Items of a step: slices or studies, whatever the network takes.
        learning_rate: Height of the one cycle that the rate goes through.
        weight_decay: Decoupled decay (AdamW).
        dropout: Share of hidden values that are left out in training.
        checks: How often, evenly over the steps, the patients left out are scored; the
            weights of the best check are kept.
        patience: Checks without a better one after which training ends.
        members: Networks whose predictions are averaged; each has a seed of its own and
            leaves another part of the patients out.
        inner_folds: Parts that the patients are cut into; a member leaves one out.
        accelerator: Where training runs, as Lightning names it.
        threads: CPU threads of a training; these networks are too small to share.
    """

    epochs: int = Field(8, ge=1)
    least_steps: int = Field(200, ge=1)
    batch: int = Field(32, ge=1)
    learning_rate: float = Field(0.005, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    dropout: float = Field(0.1, ge=0, lt=1)
    checks: int = Field(20, ge=1)
    patience: int = Field(6, ge=1)
    members: int = Field(1, ge=1)
    inner_folds: int = Field(5, ge=2)
    accelerator: Literal["cpu", "gpu", "auto"] = "cpu"
    threads: int = Field(1, ge=1)


class MLPSettings(NetworkSettings):
    """What the network sees, its width, and how it is trained.

    Attributes:
        kind: Always mlp.
        features: The window (reference: logits of 5 slices).
        width: Hidden units (reference: 128).
        batch: Slices of a step (reference: all of them).
        learning_rate: Reference: 0.008.
    """

    kind: Literal["mlp"] = "mlp"
    features: WindowOptions = WindowOptions(scale="logit")
    width: int = Field(128, ge=1)
    batch: int = Field(4096, ge=1)
    learning_rate: float = Field(0.008, gt=0)

    def build(self, seed: int) -> "MLPCandidate":
        """Make a candidate that is not fitted yet."""
        from rsna19_kedro.ensemble.mlp import MLPCandidate

        return MLPCandidate(self, seed)


class SequenceSettings(NetworkSettings):
    """What the network reads, its shape, and how it is trained.

    Attributes:
        kind: Always sequence.
        features: What is known of each slice; the neighbours come by themselves.
        body: ``gru`` or ``transformer``.
        width: Hidden units, of each direction; a multiple of 4.
        layers: Layers of the body.
        least_steps: As for every network; more of them learn a small data set by heart.
        learning_rate: As for every network.
    """

    kind: Literal["sequence"] = "sequence"
    features: WindowOptions = WindowOptions(radius=0, scale="logit", position=True)
    body: Literal["gru", "transformer"] = "gru"
    width: int = Field(32, ge=4)
    layers: int = Field(1, ge=1)
    least_steps: int = Field(100, ge=1)
    learning_rate: float = Field(0.003, gt=0)

    @field_validator("width")
    @classmethod
    def _has_heads(cls, width: int) -> int:
        if width % 4:
            raise ValueError(f"width {width} is not a multiple of 4, the transformer's heads")
        return width

    def build(self, seed: int) -> "SequenceCandidate":
        """Make a candidate that is not fitted yet."""
        from rsna19_kedro.ensemble.sequence import SequenceCandidate

        return SequenceCandidate(self, seed)
