"""Progress of a training on the console, over all of its phases."""

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from rsna19_kedro.parallel import progress_bar
from rsna19_kedro.training.module import PhaseModule


class TrainingProgress(Callback):
    """One bar a training: phase, rate, losses, time left.

    Args:
        title: What is trained.
        batches: Number of batches of each phase.
    """

    def __init__(self, title: str, batches: list[int]) -> None:
        self.title, self.batches = title, batches
        self.phase = 0
        self._bar = progress_bar()
        self._task = self._bar.add_task(title, total=sum(batches))
        self._validation = ""

    def __enter__(self) -> "TrainingProgress":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

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
        done = sum(self.batches[: self.phase]) + pl_module.unit.first_step + batch_idx + 1
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        text = f"{self.title} {pl_module.phase.name} lr {rate:.0e}"
        if batch_idx % 10 == 0:
            text += f" loss {float(outputs['loss']):.3f}{self._validation}"
            self._bar.update(self._task, completed=done, description=text)
        else:
            self._bar.update(self._task, completed=done)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show the validation's loss from now on."""
        assert isinstance(pl_module, PhaseModule)
        if pl_module.history:
            self._validation = f" val {pl_module.history[-1]['val_loss']:.3f}"
