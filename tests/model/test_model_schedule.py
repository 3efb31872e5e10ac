from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_configs import composed

from cytoloop.errors import ConfigError
from cytoloop.model.schedule import SHAPES, BudgetSchedule


def make_schedule(**kwargs: Any) -> BudgetSchedule:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.4)
    return BudgetSchedule(optimizer, **kwargs)


def rates_at(schedule: BudgetSchedule, fractions: Sequence[float]) -> list[float]:
    """Return the rate after each fraction of the budget."""
    rates = []
    for spent in fractions:
        schedule.spent = spent
        schedule.step()
        rates.append(schedule.get_last_lr()[0])
    return rates


def test_one_cycle_rises_for_a_third_and_falls_to_a_ten_thousandth() -> None:
    config = composed("train", "schedule=one_cycle").model.lr_scheduler
    schedule = make_schedule(**{k: v for k, v in config.items() if not str(k).startswith("_")})
    rates = rates_at(schedule, (0.0, 0.15, 0.3, 0.65, 1.0))
    middle = 0.0001 + 0.9999 / 2
    assert rates == pytest.approx([0.016, 0.4 * 0.52, 0.4, 0.4 * middle, 0.4 * 0.0001])


@pytest.mark.parametrize(
    "shape, expected",
    [
        ("cosine", [0.04, 0.22, 0.4, 0.22, 0.04]),
        ("poly", [0.04, 0.22, 0.4, 0.04 + 0.36 * 0.5**0.9, 0.04]),
        ("constant", [0.04, 0.22, 0.4, 0.4, 0.4]),
    ],
)
def test_the_rate_warms_up_and_falls_with_the_budget(shape: str, expected: list[float]) -> None:
    schedule = make_schedule(shape=shape, warmup=0.2, end_factor=0.1)
    assert rates_at(schedule, (0.0, 0.1, 0.2, 0.6, 1.0)) == pytest.approx(expected)


@given(
    st.sampled_from(sorted(SHAPES)),
    st.floats(0, 0.99),
    st.floats(0, 1),
    st.lists(st.floats(0, 1), min_size=2, max_size=8),
)
@settings(max_examples=50)
def test_after_the_warm_up_the_rate_never_rises(
    shape: str, warmup: float, end_factor: float, fractions: list[float]
) -> None:
    schedule = make_schedule(shape=shape, warmup=warmup, end_factor=end_factor)
    rates = rates_at(schedule, [max(fraction, warmup) for fraction in sorted(fractions)])
    assert all(0.4 * end_factor - 1e-9 <= rate <= 0.4 + 1e-9 for rate in rates)
    assert all(later <= rate + 1e-9 for rate, later in itertools.pairwise(rates))


def test_values_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="4 problems") as caught:
        make_schedule(shape="line", warmup=1.0, start_factor=-1, end_factor=2)
    for part in ("shape is line", "warmup is 1.0", "start_factor is -1", "end_factor is 2"):
        assert part in str(caught.value)


def test_a_state_without_shape_is_resumed_with_the_defaults() -> None:
    former = make_schedule()
    rates_at(former, [0.5])
    state = former.state_dict()
    for name in ("shape", "start_factor"):
        del state[name]
    resumed = make_schedule()
    resumed.load_state_dict(state)
    assert rates_at(resumed, [0.7]) == rates_at(former, [0.7])
