"""Kedro hooks, one file per concern: early checks, logging, records, summary of a run.

If nodes run in worker processes, node and dataset hooks are called there, with the data. Those
of a class with ``IN_MAIN_PROCESS`` are called in the main process instead, without data, because
they keep state across nodes. Pipeline, context and catalog hooks are always called in the main
process; log levels are passed on to the workers.
"""
