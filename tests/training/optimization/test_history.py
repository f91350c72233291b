"""Learning curves from the trainer's log."""

from types import SimpleNamespace

import numpy as np

from training.optimization.history import HistoryNote, Series, series, smoothed, thinned

ROWS = (
    {"step": 5, "loss": 0.7, "learning_rate": 1e-3},
    {"step": 10, "loss": float("nan"), "learning_rate": 2e-3},
    {"step": 15, "loss": 0.5},
    {"step": 15, "train_runtime": 3.0},
)


def test_a_series_has_what_was_logged_and_is_finite() -> None:
    found = series(ROWS, "loss")

    assert found is not None
    assert found.update.tolist() == [5, 15]
    assert found.value.tolist() == [0.7, 0.5]


def test_one_point_is_no_curve() -> None:
    assert series(ROWS, "train_runtime") is None
    assert series((), "loss") is None


def test_smoothing_is_a_mean_of_neighbours_and_leaves_short_curves_alone() -> None:
    short = np.array([3.0, 1.0, 2.0])
    assert smoothed(short).tolist() == short.tolist()
    long = np.arange(40.0)
    assert np.allclose(smoothed(long)[2:-2], long[2:-2])  # a line's mean is its middle
    assert smoothed(long)[0] == np.mean([0, 1, 2])


def test_thinning_keeps_means_and_no_more_points_than_asked_for() -> None:
    curve = Series(np.arange(1000.0), np.sin(np.arange(1000.0)))

    thin = thinned(curve, most=30)

    assert len(thin.update) == 30
    assert (np.diff(thin.update) > 0).all()
    halves = thinned(Series(np.array([1.0, 2, 3, 4]), np.array([1.0, 3, 5, 7])), most=2)
    assert halves.update.tolist() == [1.5, 3.5]
    assert halves.value.tolist() == [2.0, 6.0]
    assert thinned(curve, most=1000) is curve


def test_the_note_keeps_the_log_as_it_is_at_the_end() -> None:
    note = HistoryNote()
    log = [{"step": 1, "loss": 1.0}]

    note.on_train_end(None, SimpleNamespace(log_history=log), None)
    log[0]["loss"] = 2.0

    assert note.rows == ({"step": 1, "loss": 1.0},)
