"""Allowed imports between packages, including imports inside functions."""

from graphlib import TopologicalSorter

import grimp
import pytest

PACKAGE = "rsna19_kedro"
BELOW_KEDRO = (
    *("dicom", "ct", "cohort", "phantoms", "networks", "training", "prediction"),
    *("ensemble", "evaluation", "provenance", "detector"),
)
KEDRO = [
    "kedro",
    "kedro_datasets",
    *(f"{PACKAGE}.{n}" for n in ("pipelines", "datasets", "runners")),
]
RUN_BY_NODES = [f"{PACKAGE}.{n}" for n in ("training", "prediction", "ensemble", "evaluation")]
NO_TORCH = ["torch", "lightning_fabric", "timm", f"{PACKAGE}.networks"]
FORBIDDEN = [
    *((name, KEDRO) for name in BELOW_KEDRO),
    ("runners", RUN_BY_NODES),
    *((name, NO_TORCH) for name in ("dicom", "ct", "cohort", "phantoms")),
    ("ct", ["pydicom", "highdicom", f"{PACKAGE}.dicom", f"{PACKAGE}.phantoms"]),
    ("training", [f"{PACKAGE}.prediction"]),
    ("prediction", [f"{PACKAGE}.training"]),
]


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    """All imports of the package, at any position in a file."""
    return grimp.build_graph(PACKAGE, include_external_packages=True, cache_dir=None)


def test_imports_have_no_cycle(graph: grimp.ImportGraph) -> None:
    modules = [name for name in graph.modules if name.startswith(PACKAGE)]
    imports = {name: graph.find_modules_directly_imported_by(name) for name in modules}
    assert len(imports) > 100
    tuple(TopologicalSorter(imports).static_order())  # Raises CycleError with the cycle.


@pytest.mark.parametrize(("package", "forbidden"), FORBIDDEN)
def test_packages_import_nothing_forbidden(
    graph: grimp.ImportGraph, package: str, forbidden: list[str]
) -> None:
    top = f"{PACKAGE}.{package}"
    modules = {name for name in graph.modules if name == top or name.startswith(f"{top}.")}
    assert modules
    broken = [
        f"{module} imports {imported}"
        for module in sorted(modules)
        for imported in sorted(graph.find_modules_directly_imported_by(module))
        if any(imported == name or imported.startswith(f"{name}.") for name in forbidden)
    ]
    assert not broken
