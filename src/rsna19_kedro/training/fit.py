"""Train one model on one fold: the recipe's phases one after the other, resumable."""

import hashlib
import json
import logging
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor

from rsna19_kedro.errors import InputError
from rsna19_kedro.files import atomic_path
from rsna19_kedro.networks.build import build_network, start_from
from rsna19_kedro.networks.slice_network import SliceNetwork
from rsna19_kedro.networks.zoo import ZOO
from rsna19_kedro.training.data import FoldData, SampleKind
from rsna19_kedro.training.failures import explained
from rsna19_kedro.training.job import Trained, TrainingJob
from rsna19_kedro.training.module import PhaseModule
from rsna19_kedro.training.plan import Unit, plan_phase
from rsna19_kedro.training.progress import TrainingProgress
from rsna19_kedro.training.recipe import TrainingSettings
from rsna19_kedro.training.slices import ReducedSlices, masked_slices

logger = logging.getLogger(__name__)

# Lightning sets its own level when it is imported, and says at each fit which devices it found.
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


class _AtomicStates(TorchCheckpointIO):
    """Writes a state beside its place; Lightning's own detour by /tmp is a copy onto it."""

    def save_checkpoint(self, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
        with atomic_path(Path(path)) as part:
            torch.save(checkpoint, part)


def train_model(job: TrainingJob) -> Trained:
    """Train a model through all phases of its recipe, or through what an earlier try left.

    Raises:
        InputError: What the user can mend: batches that do not fit the fold or the memory, a
            loss that is not finite, weights that cannot be had.
    """
    recipe, resume = job.recipe, job.resume
    spec = ZOO[recipe.model]
    _forget_another_training(job)
    torch.manual_seed(recipe.seed + 1000 * job.fold)
    network = initial_network(job)
    plans = _plans(job)
    history: list[dict[str, Any]] = []
    weights: dict[str, Tensor] = {}
    side_px = job.slices.store.shape(job.slices.train.study_ids[0])[-1]
    reduced = None
    if recipe.input.resize_px is not None:
        studies = dict.fromkeys(job.slices.train.study_ids)
        reduced = ReducedSlices(job.slices.store, studies, job.hu_lut, recipe.input)
    kind = SampleKind(spec.window, spec.channels, recipe.run_slices)
    for number, (name, units) in enumerate(plans):
        if any(
            (resume / f"phase_{later}.ckpt").is_file() for later in range(number + 1, len(plans))
        ):
            continue  # A later phase has begun: its state holds all that this one left.
        seed = (recipe.seed, job.fold, number)
        module = PhaseModule(network, recipe, name, units, job.hu_lut, seed, side_px, history)
        data = FoldData(
            job.slices,
            kind,
            units,
            seed,
            workers=job.settings.loader_workers,
            reduced=reduced,
        )
        _fit_phase(module, data, job, number)
        weights = module.kept_weights()
    return Trained(network, weights, history)


def _plans(job: TrainingJob) -> list[tuple[str, list[Unit]]]:
    """The phases by name, unrolled."""
    train = job.slices.train
    by_study = job.recipe.run_slices is not None
    samples = len(set(train.study_ids)) if by_study else len(train)
    masked = int(masked_slices(train, job.slices.masks).sum())
    if job.recipe.mask_loss_weight and not masked:
        logger.warning("%s: no training slice has a mask; the decoder cannot learn", job.title)
    return [
        (name, plan_phase(phase, samples, masked)) for name, phase in job.recipe.phases.in_order()
    ]


def _forget_another_training(job: TrainingJob) -> None:
    """Remove a resume state that was left by another recipe or other training slices."""
    train = job.slices.train
    validation = job.slices.validation
    start = hashlib.sha256(job.hu_lut.numpy().tobytes())
    for _, value in sorted((job.parent.weights if job.parent else {}).items()):
        start.update(value.contiguous().numpy().tobytes())
    identity = {
        "recipe": job.recipe.model_dump(mode="json"),
        "start": start.hexdigest(),
        "slices": hashlib.sha256(
            repr(
                [
                    (part.study_ids, part.slice_nums.tolist(), part.labels.tolist())
                    for part in (train, validation)
                ]
            ).encode()
        ).hexdigest(),
    }
    note = job.resume / "training.json"
    if note.is_file() and json.loads(note.read_text()) == identity:
        return
    for state in job.resume.glob("phase_*.ckpt"):
        logger.warning("%s is of another recipe or other slices: training starts anew", state)
        state.unlink()
    with atomic_path(note) as part:
        part.write_text(json.dumps(identity))


def initial_network(job: TrainingJob) -> SliceNetwork:
    """The network with the weights that the recipe starts from.

    Raises:
        InputError: The parent's checkpoint is missing, or of another model or resolution.
    """
    recipe = job.recipe
    network = build_network(
        ZOO[recipe.model],
        dropout=recipe.dropout,
        weights=None if recipe.parent else recipe.initial_weights,
        weights_folder=job.settings.weights_folder,
    )
    if recipe.parent:
        if job.parent is None:
            raise InputError(f"{job.title} starts from {recipe.parent}, which was not given.")
        job.parent.check_fits(recipe.parent, recipe.input.crop_px / recipe.input.network_px)
        start_from(network, job.parent.weights)
    return network


def _fit_phase(module: PhaseModule, data: FoldData, job: TrainingJob, number: int) -> None:
    state = job.resume / f"phase_{number}.ckpt"
    with warnings.catch_warnings():
        # Lightning's advice on workers, devices and batch sizes is settled by the recipe.
        warnings.filterwarnings("ignore", module="lightning")
        warnings.filterwarnings("ignore", message=".*torch.load.*")
        trainer = _trainer(module, job, state)
        _lay_out(module.network, trainer, job.settings)
        if state.is_file():
            logger.info("%s goes on from %s", job.title, state.name)
        with explained(module, job):
            trainer.fit(
                module, data, ckpt_path=state if state.is_file() else None, weights_only=False
            )
    module.to("cpu")
    if job.settings.devices > 1:  # The devices' processes have gone with their weights.
        left = torch.load(state, map_location="cpu", weights_only=False)
        module.load_state_dict(left["state_dict"])
        module.on_load_checkpoint(left)
    for older in job.resume.glob("phase_*.ckpt"):
        if older != state:
            older.unlink()


def _trainer(module: PhaseModule, job: TrainingJob, state: Path) -> L.Trainer:
    settings = job.settings
    keeper = ModelCheckpoint(
        dirpath=job.resume,
        filename=state.stem,
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )
    spread = DDPStrategy(start_method="spawn", find_unused_parameters=True)
    board = TensorBoardLogger(job.logs, name="", version="") if job.logs is not None else False
    return L.Trainer(
        accelerator=settings.accelerator,
        strategy=spread if settings.devices > 1 else "auto",
        devices=settings.devices,
        precision=settings.precision or job.recipe.precision,
        plugins=[_AtomicStates()],
        max_epochs=len(module.units),
        accumulate_grad_batches=module.phase.accumulate,
        gradient_clip_val=module.phase.gradient_clip,
        reload_dataloaders_every_n_epochs=1,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        logger=board,
        callbacks=[TrainingProgress(job.title), keeper],
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def _lay_out(network: SliceNetwork, trainer: L.Trainer, settings: TrainingSettings) -> None:
    """Memory layout and compilation of the encoder.

    Channels last is for the tensor cores of a GPU; on a CPU it cost 30 % of the speed.
    """
    on_gpu = trainer.strategy.root_device.type == "cuda"
    if settings.channels_last and on_gpu:
        network.encoder.to(memory_format=torch.channels_last)
    if settings.compile:
        network.encoder.compile()
