"""What happens around a run, one file per concern: early refusals, quiet logs, closing lines.

When nodes run in worker processes, hooks around nodes and datasets are called there, with the
data. Those of a class with ``IN_MAIN_PROCESS`` are called in the main process instead, without
data, because they count or keep notes across nodes. Hooks around the pipeline, the context and
the catalog are always called in the main process; levels of loggers are handed on to the workers.
"""
