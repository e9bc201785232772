"""Parameters of the ingestion."""

from pathlib import Path

from pydantic import Field

from rsna19_kedro.cohort.download import Download, find_download, own_download
from rsna19_kedro.strict import Strict


class OwnData(Strict):
    """Folders of DICOM to use instead of Kaggle's layout.

    Relative paths start from ``raw_dir``; folders are searched recursively.

    Attributes:
        train: Folders of slices to train and validate on.
        test: Folders of labelled slices that only the ``folds_test`` tables include.
        test2: Folders of slices to predict.
        labels_csv: CSV in Kaggle's format (``ID,Label``) or with ``sop_instance_uid`` and one
            column per class.
    """

    train: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    test2: tuple[str, ...] = ()
    labels_csv: str | None = None


class IngestionParameters(Strict):
    """How the raw data are read.

    Attributes:
        own_data: Folders of your own data; None detects Kaggle's layout in ``raw_dir``.
        workers: Processes that read headers; None uses all cores.
        chunk_files: Number of files that a process reads at a time.
    """

    own_data: OwnData | None = None
    workers: int | None = Field(default=None, ge=1)
    chunk_files: int = Field(default=256, ge=1)

    def download(self, raw_dir: Path) -> Download:
        """Find the user's own data, or Kaggle's download, in ``raw_dir``."""
        if self.own_data is None:
            return find_download(raw_dir)
        folders = self.own_data.model_dump(exclude={"labels_csv"})
        return own_download(raw_dir, folders, self.own_data.labels_csv)
