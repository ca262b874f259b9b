"""`SamplingParams` refuses what no engine can do."""

from __future__ import annotations

from typing import Any

import pytest

from agents.base import Completion, SamplingParams


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n", 0),
        ("temperature", -0.1),
        ("temperature", float("inf")),
        ("temperature", float("nan")),
        ("top_p", 0.0),
        ("top_p", 1.1),
        ("top_k", -1),
        ("max_tokens", 0),
        ("seed", (3, -1)),
        ("seed", (2**31,)),
        ("seed", 0.5),
        ("seed", [3]),
    ],
)
def test_values_out_of_range(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{field}=.*must be"):
        SamplingParams(**{field: value})


def test_the_ends_of_the_ranges() -> None:
    SamplingParams(n=1, temperature=0.0, top_p=1.0, top_k=0, max_tokens=1)
    SamplingParams(n=3, seed=(0, 2**31 - 3))
    with pytest.raises(ValueError, match=r"seed=\(0, 2147483646\), but it must be"):
        SamplingParams(n=3, seed=(0, 2**31 - 2))


def test_frozen() -> None:
    completion = Completion(token_ids=(1,), logprobs=(0.0,), text="", finish_reason="stop", policy_version=0)
    with pytest.raises(AttributeError):
        completion.text = "other"  # type: ignore[misc]
