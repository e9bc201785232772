"""Documents and headings that comments and documents cite exist."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CITATION = re.compile(r"(docs/[\w/]+\.md)(?:#([\w-]+))?")
LINK = re.compile(r"\]\((?!https?:)([\w./-]*?)(?:#([\w-]+))?\)")
SUFFIXES = {".py", ".yml", ".toml", ".md", ".j2", ".cfg"}


def _tracked() -> list[Path]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        return [path for path in ROOT.rglob("*") if ".venv" not in path.parts]
    return [ROOT / name for name in listed.stdout.splitlines()]


def _headings(page: Path) -> set[str]:
    """Anchors of the headings of a page, as on GitHub."""
    lines = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in lines}


def _unresolved(file: Path) -> list[str]:
    text = file.read_text()
    cited = [(ROOT / name, heading) for name, heading in CITATION.findall(text)]
    if file.suffix == ".md":
        links = LINK.findall(text)
        cited += [(file.parent / name if name else file, heading) for name, heading in links]
    return [
        f"{file.relative_to(ROOT)}: {page.name}#{heading}"
        for page, heading in cited
        if not page.exists() or (heading and heading not in _headings(page))
    ]


@pytest.mark.parametrize("folder", ["src", "conf", "tests", "benchmarks", "docs", "."])
def test_every_citation_resolves(folder: str) -> None:
    files = [
        path
        for path in _tracked()
        if path.suffix in SUFFIXES
        and path.is_file()
        and path.relative_to(ROOT).parts[0] == (path.name if folder == "." else folder)
    ]
    assert files
    assert [problem for file in files for problem in _unresolved(file)] == []


def test_no_citation_uses_a_section_number() -> None:
    """Citations name a heading instead."""
    numbered = re.compile(r"reference, s[e]ction|\bquirks? \d", re.IGNORECASE)
    files = [path for path in _tracked() if path.suffix in SUFFIXES and path.is_file()]
    assert [path for path in files if numbered.search(path.read_text())] == []
