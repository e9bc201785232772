"""Detection and typing of intracranial haemorrhage on head CT, as a Kedro project."""

__version__ = "0.1.0"
