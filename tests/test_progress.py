"""Progress of long work: lines for a terminal of any width, log lines, and the time left."""

from io import StringIO

import pytest
from rich.console import Console

from rsna19_kedro import progress
from rsna19_kedro.progress import Line, duration, progress_table, shorten
from rsna19_kedro.runners.time_left import TimeLeft
from rsna19_kedro.runners.worker import NodeRun

LONG = "12/219 resnet34_400_5_planes_combine_last_var_dr0 fold 2 combine"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59, "59 s"), (61, "1 min"), (7500, "2 h 05 min"), (100_000, "1 d 03 h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_long_title_is_shortened_in_the_middle() -> None:
    assert shorten("short", 10) == "short"
    assert shorten("abcdefghij", 5) == "ab…ij"
    assert [len(shorten(LONG, width)) for width in range(10, 30)] == list(range(10, 30))


def _drawn(width: int, *lines: Line) -> list[str]:
    file = StringIO()
    console = Console(file=file, width=width, force_terminal=True, color_system=None)
    console.print(progress_table(lines, width))
    return file.getvalue().rstrip("\n").split("\n")


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
def test_each_task_takes_one_line(width: int) -> None:
    line = Line(LONG, 0.4567, 100_000, "loss 0.104, validation 0.099")
    drawn = _drawn(width, line, Line("index_slices"))
    assert len(drawn) == 2
    assert all(len(text) <= width for text in drawn)
    assert drawn[0].startswith("12/219 ")
    assert "fold 2 combine" in drawn[0] or width < 80
    assert "46 %" in drawn[0]
    assert "1 d 03 h left" in drawn[0]
    assert ("validation 0.099" in drawn[0]) == (width >= 120)


def test_without_a_terminal_progress_is_logged_once_per_minute(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(progress, "_position", "")
    clock = iter(range(0, 10_000, 25))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(progress, "draws_bars", lambda: False)
    caplog.set_level("INFO", logger="rsna19_kedro")
    with progress.progress_bar() as bar:
        task = bar.add_task("Volumes", total=10, details="")
        for _ in range(10):
            bar.advance(task)
    assert len(caplog.messages) in (3, 4)
    assert caplog.messages[0].startswith("Volumes: ")
    assert "%" in caplog.messages[0]


def test_tracked_items_are_reported_too() -> None:
    lines: list[Line] = []
    progress.report_progress_to(lines.append)
    try:
        assert list(progress.track([1, 2, 3, 4], "Fits")) == [1, 2, 3, 4]
    finally:
        progress.report_progress_to(None)
    assert [line.percent for line in lines] == ["25 %", "50 %", "75 %", "100 %"]


def _needs(*names: str, kind: str = "training", cost: float = 10) -> dict[str, NodeRun]:
    return {name: NodeRun(name, kind, 0, cost) for name in names}


FOLDS = [f"a.fold_{fold}.train" for fold in range(5)]


def test_time_left_is_unknown_until_something_of_the_kind_is_known() -> None:
    left = TimeLeft(_needs(*FOLDS), {})
    assert left.seconds(dict.fromkeys(FOLDS, 0.0)) is None
    left.measured(FOLDS[0], 60)
    assert left.seconds(dict.fromkeys(FOLDS[1:], 0.0)) == pytest.approx(240)
    assert left.seconds({FOLDS[1]: 20.0}) == pytest.approx(40)
    assert left.seconds({FOLDS[1]: 90.0}) == 0
    on_two_slots = TimeLeft(_needs(*FOLDS), {FOLDS[0]: 60}, {"gpu": 4, "cpu": 2})
    assert on_two_slots.seconds(dict.fromkeys(FOLDS[1:], 0.0)) == pytest.approx(120)


def test_recorded_durations_count_before_anything_ran() -> None:
    left = TimeLeft(_needs(*FOLDS), {FOLDS[0]: 100.0, FOLDS[1]: 120.0})
    assert left.seconds(dict.fromkeys(FOLDS[:3], 0.0)) == pytest.approx(100 + 120 + 110)


def test_other_models_of_the_kind_are_estimated_by_their_cost() -> None:
    others = _needs("b.fold_0.train", cost=40)
    left = TimeLeft(_needs(*FOLDS) | others | _needs("report", kind="other"), {})
    for fold in FOLDS[:2]:
        left.measured(fold, 60)
    assert left.seconds({"b.fold_0.train": 0.0}) is None, "two are not enough"
    left.measured(FOLDS[2], 60)
    assert left.seconds({"b.fold_0.train": 0.0}) == pytest.approx(240)
    assert left.seconds({"b.fold_0.train": 0.0, "report": 0.0}) is None


def test_one_slow_node_does_not_make_the_others_seem_slow() -> None:
    figures = _needs("phantoms", "index", "lut", "labels", "table", "plot", kind="other", cost=1)
    left = TimeLeft(figures, {"phantoms": 100, "index": 2, "lut": 0.5, "labels": 0.1})
    assert left.seconds({"table": 0.0, "plot": 0.0}) == pytest.approx(2 * 1.25)
