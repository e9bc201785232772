"""A training recipe: the numbers of one model's YAML, typed.

A recipe is a list of phases; a phase is data, not code. See docs/recipes.md for the keys.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

from rsna19_kedro.prediction.variants import VARIANTS

Probability = Annotated[float, Field(ge=0, le=1)]


class _Strict(BaseModel):
    """A misspelt key is an error that names it."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class InputSize(_Strict):
    """What the network sees of a prepared slice.

    Attributes:
        crop_px: Side of the square cut out of the slice, in pixels.
        random_crop: Whether training cuts it at random; else, and always in prediction, it
            is the centre.
        resize_px: Side that the square is reduced to by averaging; ``None`` keeps its size.
    """

    crop_px: PositiveInt
    random_crop: bool = False
    resize_px: PositiveInt | None = None

    @model_validator(mode="after")
    def _divides(self) -> "InputSize":
        if self.resize_px is not None and self.crop_px % self.resize_px:
            raise ValueError(
                f"resize_px {self.resize_px} does not divide crop_px {self.crop_px}: slices are "
                "reduced by a whole factor"
            )
        return self

    @property
    def network_px(self) -> int:
        """Side of the network's input, in pixels."""
        return self.resize_px or self.crop_px


class Augmentation(_Strict):
    """Random changes of a training sample, drawn once a sample for all of its slices.

    Attributes:
        flip_horizontal: Probability of mirroring left and right.
        flip_vertical: Probability of mirroring front and back.
        quarter_turns: Probability of turning by a random multiple of 90 degrees.
        affine: Probability of the next three together.
        shift: Greatest shift along either axis, as a share of the side.
        scale: Greatest relative change of size.
        rotate_deg: Greatest rotation, in degrees.
        border: What lies beyond the slice: its outermost pixels again, or air.
    """

    flip_horizontal: Probability = 0.0
    flip_vertical: Probability = 0.0
    quarter_turns: Probability = 0.0
    affine: Probability = 0.0
    shift: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    scale: Annotated[float, Field(ge=0, lt=1)] = 0.0
    rotate_deg: Annotated[float, Field(ge=0, le=180)] = 0.0
    border: Literal["edge", "air"] = "edge"


class StepDecay(_Strict):
    """Rate times ``factor`` from each of the named epochs on (counted from 0)."""

    kind: Literal["steps"]
    from_epochs: tuple[PositiveInt, ...]
    factor: Annotated[float, Field(gt=0, lt=1)]


class FlatCosine(_Strict):
    """Constant rate, then half a cosine down to ``min_lr``. Steps count batches."""

    kind: Literal["flat_cosine"]
    flat_steps: Annotated[int, Field(ge=0)]
    cosine_steps: PositiveInt
    min_lr: Annotated[float, Field(ge=0)]


class OneCycle(_Strict):
    """Up to the rate over ``warm_up`` of the phase, then half a cosine down to nearly 0.

    For short trainings from random weights, such as the demo's.
    """

    kind: Literal["one_cycle"]
    warm_up: Probability = 0.3


Schedule = Annotated[StepDecay | FlatCosine | OneCycle, Field(discriminator="kind")]


class Phase(_Strict):
    """A stretch of training with one optimiser.

    Attributes:
        name: For logs and the history.
        optimizer: Adam, RAdam or AdamW; weight decay is always decoupled.
        learning_rate: Start of the schedule.
        schedule: ``None`` for a constant rate.
        epochs: Length in passes over the training slices; or
        steps: length in batches.
        batch: Samples a batch (of whole windows).
        accumulate: Batches an optimiser update.
        single_slice_epochs: First epochs of the phase on single slices (the combiner's centre
            tap alone), at twice the batch; ``all`` for the whole phase.
        frozen_steps: First batches with the encoder frozen; ``all`` for the whole phase. A
            frozen encoder's batch norm is in evaluation mode; a new stem learns all the same.
        weight_decay: Decoupled, scaled by the rate.
        gradient_clip: Greatest norm of all gradients; ``None`` for no limit.
        validations_per_epoch: How often an epoch the validation fold is predicted.
    """

    name: str
    optimizer: Literal["adam", "radam", "adamw"] = "radam"
    learning_rate: PositiveFloat
    schedule: Schedule | None = None
    epochs: PositiveInt | None = None
    steps: PositiveInt | None = None
    batch: PositiveInt
    accumulate: PositiveInt = 1
    single_slice_epochs: Annotated[int, Field(ge=0)] | Literal["all"] = 0
    frozen_steps: Annotated[int, Field(ge=0)] | Literal["all"] = 0
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    gradient_clip: PositiveFloat | None = None
    validations_per_epoch: PositiveInt = 1

    @model_validator(mode="after")
    def _has_a_length(self) -> "Phase":
        if self.epochs is None and self.steps is None:
            raise ValueError(f"phase {self.name!r} needs epochs, steps or both (the first to end)")
        return self


class Recipe(_Strict):
    """How one model is trained and which variants it predicts.

    Attributes:
        model: Its name in the zoo.
        input: What the network sees.
        augmentation: Random changes of a training sample.
        dropout: Probability in front of the linear layer.
        initial_weights: ``imagenet`` for the library's weights, a path of a local file with
            them, ``None`` for random ones.
        phases: In their order.
        keep: Weights of the last validation, or of the one with the lowest loss.
        variants: Test-time variants, see ``prediction.variants``.
        precision: Arithmetic of training, as Lightning names it.
        channels_last: Memory layout of the network's weights.
        devices: Number of devices, or ``auto`` for one accelerator if there is one.
        loader_workers: Processes that read training volumes; 0 reads in the training's own.
        seed: Start of all random draws of this model.
    """

    model: str
    input: InputSize
    augmentation: Augmentation = Augmentation()
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    initial_weights: str | None = "imagenet"
    phases: tuple[Phase, ...]
    keep: Literal["last", "best"] = "last"
    variants: tuple[Literal[tuple(VARIANTS)], ...]  # type: ignore[valid-type]
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = "32-true"
    channels_last: bool = True
    devices: PositiveInt | Literal["auto"] = "auto"
    loader_workers: Annotated[int, Field(ge=0)] = 0
    seed: int = 0

    @model_validator(mode="after")
    def _has_phases(self) -> "Recipe":
        if not self.phases:
            raise ValueError("a recipe needs at least one phase")
        return self
