from __future__ import annotations

import pytest

from exsa_lab.bench.measure import Middle, Ratio, interleaved, median, middle, overall, percentile, ratio, speed


def test_every_round_runs_everyone_and_the_order_turns() -> None:
    calls: list[tuple[str, int]] = []

    def run(name: str, number: int) -> float:
        calls.append((name, number))
        return float(number)

    values = interleaved({name: lambda number, name=name: run(name, number) for name in "abc"}, 2)

    assert values == {"a": [1.0, 2.0], "b": [1.0, 2.0], "c": [1.0, 2.0]}
    assert [name for name, _ in calls] == [*"abc", *"bca", *"cab"]
    assert [number for _, number in calls] == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_the_warm_up_can_be_left_out_and_progress_names_what_runs() -> None:
    said: list[str] = []
    values = interleaved({"a": float}, 2, warm_up=False, progress=said.append)
    assert values == {"a": [1.0, 2.0]}
    assert said == ["round 1 of 2: a", "round 2 of 2: a"]


def test_a_ratio_compares_within_rounds() -> None:
    # The second round was slow for both: the medians' ratio would be 1.5, each round's is 2.
    assert ratio([20.0, 2.0, 30.0], [10.0, 1.0, 15.0]) == Ratio(2.0, 2.0, 2.0)
    assert ratio([1.0, 3.0, 2.0], [1.0, 1.0, 1.0]) == Ratio(2.0, 1.0, 3.0)
    assert ratio([0.0, 3.0], [0.0, 1.0]) == Ratio(3.0, 3.0, 3.0)
    assert ratio([0.0], [0.0]) == Ratio(0.0, 0.0, 0.0)
    with pytest.raises(ValueError, match="zip"):
        ratio([1.0], [1.0, 2.0])


def test_a_middle_says_between_what_its_rounds_lay() -> None:
    found = middle([0.9, 1.1, 1.0], 100)
    assert (found.median, found.low, found.high) == pytest.approx((100, 90, 110))
    assert str(found) == "100 (90.0..110)"
    assert found.spread == pytest.approx(11 / 9 - 1)
    assert middle([1.0, 2.0], is_alike=False).spread == 0.0
    assert middle([]) == Middle(0.0, 0.0, 0.0)


def test_speed_leaves_the_first_token_out() -> None:
    assert speed([5.0, 5.5, 6.0]) == 2.0
    assert speed([5.0]) == 0.0


def test_percentiles_interpolate() -> None:
    assert percentile([4.0, 1.0, 3.0, 2.0], 50) == 2.5
    assert percentile([1.0, 2.0, 3.0], 100) == 3.0
    assert percentile([], 50) == median([]) == 0.0


def test_overall_is_the_speed_of_all_texts_together() -> None:
    # 100 tokens in 1 s, then 100 tokens in 4 s: 200 tokens in 5 s.
    assert overall([100.0, 25.0]) == pytest.approx(40.0)
    assert overall([]) == 0.0
