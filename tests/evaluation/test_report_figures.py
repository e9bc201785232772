import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.evaluation.curves import STACKED, draw_calibration, draw_roc
from rsna19_kedro.evaluation.second_level_figures import draw_candidates, draw_weights
from rsna19_kedro.evaluation.style import figure_png, line_style, new_figure
from rsna19_kedro.evaluation.training_figures import draw_learning_curves, running_step


def test_png_has_the_requested_size_and_is_reproducible() -> None:
    figure, _ = new_figure(1, 2, (3.0, 2.0))
    data = figure_png(figure, dpi=50)
    assert Image.open(io.BytesIO(data)).size == (150, 100)
    assert data == figure_png(figure, dpi=50)


def test_line_styles_differ_for_all_models() -> None:
    looks = {(style["color"], str(style["linestyle"])) for style in map(line_style, range(28))}
    assert len(looks) == 28


def test_steps_continue_across_phases() -> None:
    run = pd.DataFrame({"step": [10, 20, 5, 10, 3]})
    assert running_step(run).tolist() == [10, 20, 25, 30, 33]


def _history(model: str, fold: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "model": model,
            "fold": fold,
            "phase": ["frozen", "main", "main"],
            "step": [4, 8, 12],
            "train_loss": [0.6, 0.4, 0.3],
            "val_loss": [0.5, 0.45, 0.4],
            "val_auc_any": [np.nan] * 3,
        }
    )


def test_learning_curves_show_every_model_and_fold() -> None:
    histories = pd.concat([_history(model, fold) for model in ("m", "n") for fold in (0, 3)])
    panels = draw_learning_curves(histories).axes
    assert [panel.get_title(loc="left") for panel in panels] == ["m", "", "n", ""]
    losses = [line for line in panels[0].lines if line.get_label() != "_mark"]
    drawn = [list(line.get_ydata()) for line in losses]
    assert drawn.count([0.5, 0.45, 0.4]) == 2
    assert all(line.get_marker() != "None" for line in losses if len(line.get_xdata()) == 3)
    assert all(panel.get_xlim()[1] > 12 for panel in panels[::2]), "last points are cut"
    assert panels[1].texts[0].get_text().startswith("not defined")


def test_a_class_without_positives_has_a_note_instead_of_curves() -> None:
    labels = np.zeros((4, 6))
    labels[:2, 5] = 1
    predictions = {"m": np.full((4, 6), 0.2), STACKED: np.tile([[0.9], [0.8], [0.1], [0.2]], 6)}
    for figure in (draw_roc(labels, predictions), draw_calibration(labels, predictions, 5)):
        epidural, any_class = figure.axes[0], figure.axes[5]
        assert [text.get_text() for text in epidural.texts] == ["no positive slices"]
        assert not any_class.texts


def test_roc_of_perfect_predictions_passes_the_corner() -> None:
    labels = np.tile([[1.0], [1.0], [0.0], [0.0]], 6)
    figure = draw_roc(labels, {STACKED: np.tile([[0.9], [0.8], [0.1], [0.2]], 6)})
    curve = figure.axes[0].lines[-1]
    assert (0.0, 1.0) in set(zip(curve.get_xdata(), curve.get_ydata(), strict=True))


def test_many_models_share_one_entry_of_the_legend() -> None:
    labels = np.tile([[1.0], [0.0]], 6)
    predictions = {f"m{k}": np.full((2, 6), 0.5) for k in range(13)} | {
        STACKED: np.full((2, 6), 0.4)
    }
    legend = draw_roc(labels, predictions).legends[0]
    assert [text.get_text() for text in legend.get_texts()] == ["the 13 models", STACKED]


def test_weights_are_summed_by_model_class_and_slice() -> None:
    rows = [
        {"model": model, "source": source, "offset": offset, **dict.fromkeys(CLASSES, 1 / 24)}
        for offset in (-1, 0)
        for model in ("m", "n")
        for source in CLASSES
    ]
    by_model, by_class, by_slice = draw_weights(pd.DataFrame(rows)).axes
    assert [tick.get_text() for tick in by_slice.get_yticklabels()] == ["\N{MINUS SIGN}1", "0"]
    for panel, rows_shown in ((by_model, 2), (by_class, 6), (by_slice, 2)):
        shown = np.asarray(panel.images[0].get_array())
        assert shown.shape == (rows_shown, 6)
        assert shown.sum(axis=0) == pytest.approx(np.ones(6))


def test_best_candidate_is_on_top_and_the_chosen_one_marked() -> None:
    scores = pd.DataFrame({"candidate": ["mean", "simplex"], "loss": [0.2, 0.1]})
    for name in ("loss_low", "loss_high", "difference", "difference_low", "difference_high"):
        scores[name] = 0.1
    left, _ = draw_candidates(scores, "simplex").axes
    labels = [tick.get_text() for tick in left.get_yticklabels()]
    assert labels == ["plain average", "simplex weights"]
    markers = {line.get_ydata()[0]: line.get_marker() for line in left.lines}
    assert markers[1] == "D"
    assert markers[0] == "o"
