"""Settings that several kinds of second-level model share."""

from typing import Literal

from pydantic import Field

from rsna19_kedro.strict import Strict

Beyond = Literal["zeros", "edge"]


class CandidateSettings(Strict):
    """Base of the settings of every kind of candidate.

    Attributes:
        kind: Name of the kind in parameters, files and the registry.
    """

    kind: str


class WindowOptions(Strict):
    """What is known of a slice when it is predicted from its neighbourhood.

    Attributes:
        radius: Slices on either side whose predictions, of every model, are features.
        mean_radius: The same for the mean of the models, on the given scale, which costs one
            column per class instead of one per class and model; ``None`` leaves the mean out.
        beyond: Padding at the ends of a study: ``zeros`` (probability 0, as in the
            reference) or ``edge`` (the first or last slice again).
        scale: Probabilities, or their logits.
        position: Add the position in the study, 0 at the feet to 1 at the head.
        length: Add the number of slices of the study.
        agreement: Add the standard deviation between models, one column per class.
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


class NetworkSettings(CandidateSettings):
    """How a network of the second level is trained.

    Attributes:
        features: What is known of each slice.
        epochs: Passes over the training data, if that gives more steps than ``least_steps``.
        least_steps: Minimum number of steps, however few data there are.
        batch: Items per step: slices or studies, whatever the network takes.
        learning_rate: Peak of the learning rate schedule (one cycle).
        weight_decay: Decoupled decay (AdamW).
        dropout: Dropout probability of the hidden units.
        checks: How often, evenly over the steps, the held-out patients are scored; the
            weights of the best check are kept.
        patience: Checks without improvement after which training ends.
        members: Networks whose predictions are averaged; each has its own seed and
            leaves another part of the patients out.
        inner_folds: Parts that the patients are split into; a member leaves one out.
        accelerator: Device that trains: ``cpu``, ``gpu``, or ``auto`` (a GPU if there is one).
        threads: CPU threads of a training; these networks are too small to share.
    """

    features: WindowOptions
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
