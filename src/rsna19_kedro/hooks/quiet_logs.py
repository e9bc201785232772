"""Libraries that would flood the log of a run."""

import logging

from kedro.framework.hooks import hook_impl

_NOISY = ("pydicom", "timm", "matplotlib", "PIL")


class QuietLogs:
    """Keep libraries that log per file or per training below the level of the run's log."""

    @hook_impl
    def after_context_created(self) -> None:
        """Raise the levels once the project's logging has been set up."""
        for name in _NOISY:
            logging.getLogger(name).setLevel(logging.ERROR)
