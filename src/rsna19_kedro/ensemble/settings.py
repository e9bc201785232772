"""Settings shared by several kinds of second-level models."""

from typing import Literal

from pydantic import Field

from rsna19_kedro.strict import Strict

Beyond = Literal["zeros", "edge"]


class CandidateSettings(Strict):
    """Base class of the settings of all kinds of candidates.

    Attributes:
        kind: Name of the kind in parameters, files and the registry.
    """

    kind: str


class WindowOptions(Strict):
    """Features of a slice: predictions of its neighbourhood and more.

    Attributes:
        radius: Neighbouring slices on either side whose predictions, of every model, are features.
        mean_radius: The same for the mean of the models, on the given scale, with one column
            per class and offset instead of one per model; ``None`` omits the mean.
        beyond: Padding at the ends of a study: ``zeros`` (probability 0, as in the
            reference) or ``edge`` (repeats the first or last slice).
        scale: ``probability`` or ``logit``.
        position: Add the position in the study, 0 at the feet to 1 at the head.
        length: Add the number of slices of the study.
        agreement: Add the standard deviation between models, one column per class.
        areas: Add the area of predicted masks (decimal logarithm of the share of the slice,
            at least -5): five types, unclassified and any.
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
    """Training settings of a second-level network.

    Attributes:
        features: Features of each slice.
        epochs: Passes over the training data, unless ``least_steps`` requires more.
        least_steps: Minimum number of steps.
        batch: Items per step: slices or studies, depending on the network.
        learning_rate: Peak of the one-cycle learning rate schedule.
        weight_decay: Decoupled decay (AdamW).
        dropout: Dropout probability of the hidden units.
        checks: Number of validations on the held-out patients, evenly over the steps; the
            weights of the best one are kept.
        patience: Validations without improvement after which training stops.
        members: Networks whose predictions are averaged, each with a different seed and
            different held-out patients.
        inner_folds: Number of parts of the patients; each member holds one out.
        accelerator: Training device: ``cpu``, ``gpu``, or ``auto`` (a GPU if available).
        threads: CPU threads for training; these networks are too small to gain from more.
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
