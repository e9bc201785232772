"""Progress bar and TensorBoard curves of a phase."""

import math
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from torch.utils.tensorboard import SummaryWriter

from rsna19_kedro.progress import progress_bar

_CURVE_EVERY = 10


class TrainingReport(ExitStack):
    """Progress bar and TensorBoard curves during a ``with`` block.

    Args:
        title: Text of the progress bar.
        phase: Name of the phase, prefix of the curves' names.
        batches: Batches of the phase.
        logs: Folder for TensorBoard; ``None`` for no curves.
        show: Whether to show the progress bar.
    """

    def __init__(
        self, title: str, phase: str, batches: int, logs: Path | None, *, show: bool
    ) -> None:
        super().__init__()
        self._title, self._phase, self._batches = title, phase, batches
        self._details = self._validation = ""
        self._logs, self._show = logs, show

    def __enter__(self) -> Self:
        super().__enter__()
        try:
            self._open()
        except BaseException:  # Ctrl-C while the bar was drawn.
            self.close()
            raise
        return self

    def _open(self) -> None:
        self._bar = self.enter_context(progress_bar()) if self._show else None
        if self._bar is not None:
            self._task = self._bar.add_task(self._title, total=self._batches, details="")
        self._writer = SummaryWriter(str(self._logs)) if self._logs is not None else None
        if self._writer is not None:
            self.callback(self._writer.close)

    def batch(self, done: int, rate: float, loss: float) -> None:
        """Report a batch.

        Args:
            done: Finished batches of the phase.
            rate: Its learning rate.
            loss: Its loss.
        """
        curve = done % _CURVE_EVERY == 1
        if self._bar is not None:
            if curve:
                self._details = f"loss {loss:.3f}{self._validation}"
            self._bar.update(self._task, completed=done, details=self._details)
        if curve:
            self._curves(done, train_loss=loss, learning_rate=rate)

    def validation(self, row: dict[str, Any]) -> None:
        """Report a validation (a row of the history)."""
        self._validation = f", validation {row['val_loss']:.3f}"
        finite = {k: v for k, v in row.items() if k.startswith("val_") and math.isfinite(v)}
        self._curves(row["step"], **finite)

    def _curves(self, step: int, **values: float) -> None:
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(f"{self._phase}/{name}", value, step)
