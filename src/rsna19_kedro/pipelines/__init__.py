"""The Kedro pipelines, one package each."""
