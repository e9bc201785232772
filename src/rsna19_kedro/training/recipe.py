"""Training recipes: the parameters of one model's YAML, validated.

A recipe consists of phases. docs/recipes.md describes the keys.
"""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from rsna19_kedro.errors import did_you_mean
from rsna19_kedro.networks.input_size import InputSize
from rsna19_kedro.networks.tta import VARIANTS
from rsna19_kedro.networks.zoo import ZOO, check_side
from rsna19_kedro.strict import Strict

Probability = Annotated[float, Field(ge=0, le=1)]


class Augmentation(Strict):
    """Augmentation of training samples, drawn once per sample for all of its slices.

    Attributes:
        flip_horizontal: Probability of mirroring left and right.
        flip_vertical: Probability of mirroring front and back.
        flip_either: Probability of mirroring along either axis or both, all three equally
            likely.
        quarter_turns: Probability of rotating by a random multiple of 90 degrees.
        affine: Probability of the next three together; a pair for single-slice epochs and for
            windows.
        shift: Maximum shift along each axis, as a share of the side.
        scale: Maximum relative change of size.
        rotate_deg: Maximum rotation, in degrees.
        border: Padding outside the slice: its outermost pixels repeated, or air.
    """

    flip_horizontal: Probability = 0.0
    flip_vertical: Probability = 0.0
    flip_either: Probability = 0.0
    quarter_turns: Probability = 0.0
    affine: Probability | tuple[Probability, Probability] = 0.0
    shift: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    scale: Annotated[float, Field(ge=0, lt=1)] = 0.0
    rotate_deg: Annotated[float, Field(ge=0, le=180)] = 0.0
    border: Literal["edge", "air"] = "edge"

    def affine_probability(self, single_slice: bool) -> float:
        """Return the probability of ``affine`` on single slices or on windows."""
        if isinstance(self.affine, tuple):
            return self.affine[0 if single_slice else 1]
        return self.affine


class StepDecay(Strict):
    """Multiply the learning rate by ``factor`` at each of these epochs (counted from 0)."""

    from_epochs: tuple[PositiveInt, ...]
    factor: Annotated[float, Field(gt=0, lt=1)]


class FlatCosine(Strict):
    """Constant rate, then half a cosine down to ``min_lr``. Steps count batches."""

    flat_steps: Annotated[int, Field(ge=0)]
    cosine_steps: PositiveInt
    min_lr: Annotated[float, Field(ge=0)]


class OneCycle(Strict):
    """Linear rise over the share ``warm_up`` of the phase, then half a cosine to nearly 0.

    For short trainings from random weights, such as the demo's.
    """

    warm_up: Probability = 0.3


class MaskRepeats(Strict):
    """Show slices with a mask ``times`` times in each of the first ``epochs``."""

    times: PositiveInt
    epochs: PositiveInt | Literal["all"]


class Phase(Strict):
    """A part of the training with one optimiser.

    Attributes:
        optimizer: Adam, RAdam or AdamW; weight decay is always decoupled.
        learning_rate: Initial learning rate of the schedule.
        step_decay: Learning rate schedule: one of these three, or none for a constant rate.
        flat_cosine: See ``step_decay``.
        one_cycle: See ``step_decay``.
        epochs: Length in passes over the training samples; may be a fraction.
        steps: Length in batches. With ``epochs``, the phase ends at the earlier of the two.
        batch: Samples per batch (windows or runs).
        accumulate: Batches per optimiser update.
        single_slice_epochs: Number of first epochs on single slices (only the combiner's centre
            tap), at twice the batch size; ``all`` for the whole phase.
        frozen_steps: Number of first batches with a frozen encoder; ``all`` for the whole phase.
            A new stem is trained nevertheless.
        train_frozen_norms: Whether the batch norms of a frozen encoder stay in training mode,
            with batch statistics and running averages (docs/reference.md#schedules).
        weight_decay: Decoupled, scaled by the learning rate.
        gradient_clip: Maximum norm of all gradients; ``None`` for no limit.
        validations_per_epoch: Validations per epoch.
        epochs_per_validation: Epochs per validation; the last epoch always has one.
        mask_repeats: Oversampling of slices with a mask; ``None`` for none.
    """

    optimizer: Literal["adam", "radam", "adamw"] = "radam"
    learning_rate: PositiveFloat
    step_decay: StepDecay | None = None
    flat_cosine: FlatCosine | None = None
    one_cycle: OneCycle | None = None
    epochs: PositiveFloat | None = None
    steps: PositiveInt | None = None
    batch: PositiveInt
    accumulate: PositiveInt = 1
    single_slice_epochs: Annotated[int, Field(ge=0)] | Literal["all"] = 0
    frozen_steps: Annotated[int, Field(ge=0)] | Literal["all"] = 0
    train_frozen_norms: bool = False
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    gradient_clip: PositiveFloat | None = None
    validations_per_epoch: PositiveInt = 1
    epochs_per_validation: PositiveInt = 1
    mask_repeats: MaskRepeats | None = None

    @model_validator(mode="after")
    def _check_keys(self) -> "Phase":
        if self.epochs is None and self.steps is None:
            raise ValueError("a phase needs epochs, steps or both (whichever ends first)")
        if len(self._schedules()) > 1:
            raise ValueError("a phase has at most one of step_decay, flat_cosine and one_cycle")
        if self.validations_per_epoch > 1 and self.epochs_per_validation > 1:
            raise ValueError(
                "only one of validations_per_epoch and epochs_per_validation may be above 1"
            )
        return self

    def _schedules(self) -> list[StepDecay | FlatCosine | OneCycle]:
        given = (self.step_decay, self.flat_cosine, self.one_cycle)
        return [schedule for schedule in given if schedule is not None]

    @property
    def passes(self) -> float:
        """Passes over the training samples; without ``epochs``, 40,000 samples count as one."""
        by_steps = self.steps * self.batch / 40_000 if self.steps else float("inf")
        return min(self.epochs or float("inf"), by_steps)

    @property
    def schedule(self) -> StepDecay | FlatCosine | OneCycle | None:
        """The phase's schedule; ``None`` for a constant rate."""
        return next(iter(self._schedules()), None)


class Phases(Strict):
    """The phases of a recipe, in training order; ``None`` skips one.

    Attributes:
        prefit: Training of the new layers with a frozen encoder.
        main: Training of all layers.
        combine: Training on neighbouring slices afterwards.
    """

    prefit: Phase | None = None
    main: Phase | None = None
    combine: Phase | None = None

    @model_validator(mode="after")
    def _check_not_empty(self) -> "Phases":
        if not self.in_order():
            raise ValueError("a recipe needs at least one phase (prefit, main, combine)")
        return self

    def in_order(self) -> list[tuple[str, Phase]]:
        """Return names and phases in training order."""
        given = (("prefit", self.prefit), ("main", self.main), ("combine", self.combine))
        return [(name, phase) for name, phase in given if phase is not None]


Precision = Literal["32-true", "16-mixed", "bf16-mixed"]


class Recipe(Strict):
    """Training of one model, and the test-time augmentations of its predictions.

    Attributes:
        model: Name of the model in the zoo.
        input: Size of the network's input, and its windows.
        augmentation: Augmentation of training samples.
        dropout: Dropout probability before the linear layer.
        initial_weights: ``imagenet`` for the library's weights, the path of a local weights
            file, ``synthetic`` for the encoder of the packaged small model, the name of the model
            whose encoder it starts from (as in the zoo), or ``None`` for random weights.
        run_slices: Slices per sample if samples are runs of neighbouring slices (every slice
            with a complete window is predicted); ``None`` if a sample is one slice with its
            window.
        mask_loss_weight: Weight of the mask loss relative to the class loss.
        phases: Phases of the training.
        keep: Whether to keep the weights of the last epoch or of the lowest validation loss.
        variants: Test-time augmentations, see ``networks.tta``.
        precision: Training precision in Lightning's notation; ``None`` chooses by device.
        seed: Random seed of this model.
    """

    model: str
    input: InputSize
    augmentation: Augmentation = Augmentation()
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    initial_weights: str | None = "imagenet"
    run_slices: PositiveInt | None = None
    mask_loss_weight: Annotated[float, Field(ge=0)] = 0.0
    phases: Phases
    keep: Literal["last", "best"] = "last"
    variants: tuple[Literal[tuple(VARIANTS)], ...]  # type: ignore[valid-type]
    precision: Precision | None = None
    seed: int = 0

    @model_validator(mode="after")
    def _check_model(self) -> "Recipe":
        if self.model not in ZOO:
            hint = did_you_mean(self.model, ZOO)
            raise ValueError(f"unknown model {self.model!r}.{hint} Known: {', '.join(ZOO)}.")
        spec = ZOO[self.model]
        check_side(spec.encoder, self.input.network_px)
        given = self.initial_weights
        if given in ZOO and given != spec.starts_from:
            raise ValueError(f"{self.model} does not start from {given!r}; see networks/zoo.py")
        if self.run_slices is not None and self.run_slices < spec.window:
            raise ValueError(
                f"run_slices {self.run_slices} is less than the window of {spec.window} slices"
            )
        if self.mask_loss_weight and not spec.decoder:
            raise ValueError(f"mask_loss_weight: {self.model} has no decoder")
        return self

    @property
    def parent(self) -> str | None:
        """The model whose checkpoint it starts from."""
        return self.initial_weights if self.initial_weights in ZOO else None

    @property
    def relative_costs(self) -> dict[str, float]:
        """Relative duration of the nodes with this recipe, by tag."""
        pixels = (self.input.network_px / 400) ** 2
        passes = sum(phase.passes for _, phase in self.phases.in_order())
        return {"training": 1 + 30 * pixels * passes, "prediction": 1 + pixels * len(self.variants)}


class TrainingSettings(Strict):
    """Settings of the machine for all models; no recipe depends on them.

    Attributes:
        precision: Precision of every training; ``auto`` takes the recipe's, or else bf16 where
            the GPU supports it and fp32 elsewhere.
        accelerator: In Lightning's notation; ``auto`` uses a GPU if there is one.
        devices: Number of devices that share each batch.
        readers: Threads per device that read slices ahead; ``None`` chooses, 0 disables it.
        channels_last: Whether the encoder uses the channels-last memory layout (GPU only).
        compile: Whether to compile the encoder (torch.compile); slow to start.
        weights_folder: Folder searched for ImageNet weights before they are downloaded.
    """

    precision: Precision | Literal["auto"] = "auto"
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: PositiveInt = 1
    readers: Annotated[int, Field(ge=0)] | None = None
    channels_last: bool = True
    compile: bool = False
    weights_folder: str | None = None
