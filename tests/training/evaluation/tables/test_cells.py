from training.evaluation.tables.cells import ABSENT, number, percent, plain, share, signed
from training.statistics.intervals import Estimate, Interval


def test_figures_are_written_with_their_intervals() -> None:
    interval = Interval(0.763, 0.857)
    assert percent(0.81, interval) == "81.0 % (76.3–85.7)"
    assert percent(0.81) == "81.0 %"
    assert signed(-0.5, Interval(-0.75, 0.25)) == "-0.500 (-0.75 to +0.25)"
    assert plain(3.25, Interval(3.0, 3.5)) == "3.25 (3–3.5)"
    assert share(Estimate(0.5, 4, 2, None)) == "50.0 %"
    assert number(Estimate(0.5, 4, 2, Interval(0.0, 1.0))) == "+0.500 (+0.00 to +1.00)"


def test_what_is_absent_says_so_and_never_nan() -> None:
    assert {percent(None), signed(None), plain(None), share(None), number(None)} == {ABSENT}
