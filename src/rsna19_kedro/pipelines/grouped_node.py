"""Nodes that kedro-viz draws as one box per pipeline."""

from typing import Any

from kedro.pipeline import Node


class GroupedNode(Node):
    """A node of a namespace whose name has no prefix.

    kedro-viz draws a namespace as one box, but Kedro puts the namespace before the name of its
    nodes: ``ingestion.index_slices``. These nodes are run, logged and documented without it.
    """

    @property
    def name(self) -> str:
        """Name without the namespace."""
        return self.short_name

    def _copy(self, **overwrite_params: Any) -> Node:
        # Kedro's private method, because it copies a node (to add a tag) as a plain ``Node``,
        # whose name would have the namespace again.
        copied = super()._copy(**overwrite_params)
        copied.__class__ = type(self)
        return copied
