"""Progress of a training on the console."""

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from rich.progress import Progress, TaskID

from rsna19_kedro.parallel import progress_bar
from rsna19_kedro.training.module import PhaseModule


class TrainingProgress(Callback):
    """One bar a phase: rate, losses, batches, time left.

    Args:
        title: What is trained.
    """

    def __init__(self, title: str) -> None:
        self.title = title
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._validation = ""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show the bar; with several devices, of the first one."""
        assert isinstance(pl_module, PhaseModule)
        if not trainer.is_global_zero:
            return
        last = pl_module.units[-1]
        self._bar = progress_bar()
        self._task = self._bar.add_task(
            f"{self.title} {pl_module.phase_name}", total=last.first_step + last.batches
        )
        self._bar.start()

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Move the bar."""
        assert isinstance(pl_module, PhaseModule)
        if self._bar is None:
            return
        done = pl_module.unit.first_step + batch_idx + 1
        if batch_idx % 10 == 0:
            rate = trainer.optimizers[0].param_groups[0]["lr"]
            text = f"{self.title} {pl_module.phase_name} lr {rate:.0e}"
            text += f" loss {float(outputs['loss']):.3f}{self._validation}"
            self._bar.update(self._task, completed=done, description=text)
        else:
            self._bar.update(self._task, completed=done)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show the validation's loss from now on."""
        assert isinstance(pl_module, PhaseModule)
        if pl_module.history:
            self._validation = f" val {pl_module.history[-1]['val_loss']:.3f}"

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leave the full bar."""
        self._stop()

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Leave the bar as it is, so that the message stands below it."""
        self._stop()

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
