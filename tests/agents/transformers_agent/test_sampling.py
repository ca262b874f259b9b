"""Distributions and draws."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
import torch

from agents.base import SamplingParams
from agents.models import resolve_model
from agents.transformers_agent import TransformersAgent
from agents.transformers_agent.sampling import draw, row_uniforms, sampled_logprobs

# Probabilities 0.4, 0.3, 0.2, 0.1 at temperature 1, not in order.
LOGITS = torch.tensor([[0.1, 0.4, 0.2, 0.3]]).log()


def probabilities(**options: float) -> list[float]:
    return sampled_logprobs(LOGITS, SamplingParams(**options)).exp()[0].tolist()  # type: ignore[arg-type]


def test_temperature() -> None:
    assert probabilities() == pytest.approx([0.1, 0.4, 0.2, 0.3])
    squares = [0.01, 0.16, 0.04, 0.09]
    assert probabilities(temperature=0.5) == pytest.approx([square / sum(squares) for square in squares])


def test_greedy_reports_temperature_one() -> None:
    assert probabilities(temperature=0.0) == pytest.approx([0.1, 0.4, 0.2, 0.3])


def test_top_k_is_renormalised() -> None:
    assert probabilities(top_k=2) == pytest.approx([0.0, 4 / 7, 0.0, 3 / 7])
    assert probabilities(top_k=99) == pytest.approx([0.1, 0.4, 0.2, 0.3])


def test_top_p_keeps_the_token_that_reaches_the_mass() -> None:
    assert probabilities(top_p=0.5) == pytest.approx([0.0, 4 / 7, 0.0, 3 / 7])
    assert probabilities(top_p=0.05) == pytest.approx([0.0, 1.0, 0.0, 0.0])


def test_top_p_looks_at_what_top_k_left() -> None:
    # Of 0.4, 0.3, 0.2 the first two hold 7/9 > 0.75, where of the whole they hold 0.7 only.
    assert probabilities(top_k=3, top_p=0.75) == pytest.approx([0.0, 4 / 7, 0.0, 3 / 7])
    assert probabilities(top_p=0.75) == pytest.approx([0.0, 4 / 9, 2 / 9, 3 / 9])


@pytest.mark.parametrize("options", [{}, {"temperature": 0.7}, {"top_k": 2}, {"top_p": 0.75}])
def test_frequencies_are_the_probabilities(options: dict[str, float]) -> None:
    params = SamplingParams(**options)  # type: ignore[arg-type]
    draws = 40_000
    logprobs = sampled_logprobs(LOGITS, params).expand(draws, -1)
    drawn = draw(logprobs, params, row_uniforms([0], 0, SamplingParams(max_tokens=draws))[0])
    for token, expected in enumerate(probabilities(**options)):
        deviation = math.sqrt(expected * (1 - expected) / draws)
        assert (drawn == token).float().mean().item() == pytest.approx(expected, abs=4 * deviation)


def test_greedy_draws_the_likeliest() -> None:
    params = SamplingParams(temperature=0.0)
    assert draw(sampled_logprobs(LOGITS, params), params, numbers(0.0)).tolist() == [1]


# The largest number that `numpy.random.Generator.random` returns.
BELOW_ONE = 1 - 2.0**-53


def numbers(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def drawn_at(values: torch.Tensor, probabilities: list[float]) -> list[int]:
    logprobs = torch.tensor([probabilities]).log().expand(len(values), -1)
    return draw(logprobs, SamplingParams(), values).tolist()


def test_a_draw_inverts_the_cumulative_distribution() -> None:
    # Cumulated: 0.1, 0.5, 0.7, 1.0.
    values = numbers(0.0, 0.0999, 0.1001, 0.4999, 0.5001, 0.6999, 0.7001, BELOW_ONE)
    assert drawn_at(values, [0.1, 0.4, 0.2, 0.3]) == [0, 0, 1, 1, 2, 2, 3, 3]


def test_a_boundary_belongs_to_the_next_id() -> None:
    assert drawn_at(numbers(0.25, 0.5, 0.75), [0.25, 0.25, 0.25, 0.25]) == [1, 2, 3]


def test_ids_of_probability_zero_are_never_drawn() -> None:
    values = torch.cat([numbers(0.0, 0.5, BELOW_ONE), torch.linspace(0, BELOW_ONE, 1000, dtype=torch.float64)])
    assert set(drawn_at(values, [0.0, 0.0, 0.5, 0.0, 0.5, 0.0])) == {2, 4}
    assert set(drawn_at(values, [0.0, 1.0, 0.0])) == {1}


@pytest.mark.parametrize("options", [{"top_k": 40}, {"top_p": 0.5}])
def test_masked_ids_of_a_large_vocabulary_are_never_drawn(options: dict[str, float]) -> None:
    params = SamplingParams(**options)  # type: ignore[arg-type]
    logits = 3 * torch.randn(64, 50_000, generator=torch.Generator().manual_seed(0))
    logprobs = sampled_logprobs(logits, params)
    for value in (0.0, 0.3, 0.999999, BELOW_ONE):
        drawn = draw(logprobs, params, numbers(value).expand(64))
        assert torch.isfinite(logprobs.gather(1, drawn[:, None])).all()


def test_sums_that_are_not_one_are_made_up_for() -> None:
    # As float32 softmaxes over large vocabularies are, by less.
    assert drawn_at(numbers(0.0, 0.49, 0.51, BELOW_ONE), [0.2, 0.2]) == [0, 0, 1, 1]
    assert drawn_at(numbers(0.0, 0.49, 0.51, BELOW_ONE), [0.6, 0.6]) == [0, 0, 1, 1]


def test_ids_far_below_float32s_precision_are_drawn_as_often_as_their_probability_says() -> None:
    # 2**15 ids of 2**-35 each behind one of nearly all; in float32 no sum of them near 1 would change.
    logprobs = torch.full((1000, 2**15 + 1), -35 * math.log(2))
    logprobs[:, 0] = math.log1p(-(2.0**-20))
    tail = 1 - 2.0**-20 * torch.linspace(0.9, 0.1, 1000, dtype=torch.float64)
    drawn = draw(logprobs, SamplingParams(), tail)
    assert (drawn.diff() > 0).all()
    assert (drawn / 2**15).tolist() == pytest.approx(torch.linspace(0.1, 0.9, 1000).tolist(), abs=0.05)


def test_nans_give_an_id_of_the_vocabulary() -> None:
    drawn = draw(torch.full((3, 7), torch.nan), SamplingParams(), numbers(0.0, 0.5, BELOW_ONE))
    assert ((drawn >= 0) & (drawn < 7)).all()


def test_a_rows_numbers_depend_on_its_seed_and_the_position_alone() -> None:
    whole = row_uniforms([5, 900], 0, SamplingParams(n=4, max_tokens=30))
    assert whole.dtype == torch.float64
    assert whole.unique().numel() == 8 * 30
    # Prompt 900, completions 2 and 3, fewer tokens.
    assert torch.equal(row_uniforms([900], 2, SamplingParams(n=2, max_tokens=11)), whole[6:, :11])
    assert torch.equal(row_uniforms([7], 0, SamplingParams(max_tokens=30))[0], whole[2])


def test_no_seed_gives_fresh_numbers() -> None:
    params = SamplingParams(n=2, max_tokens=9)
    assert torch.cat([row_uniforms([None, None], 0, params) for _ in range(2)]).unique().numel() == 72


def test_c4_a_checkpoints_generation_config_changes_nothing(tmp_path: Path) -> None:
    shutil.copytree(resolve_model("tiny"), tmp_path / "model")
    plain = TransformersAgent("tiny")
    greedy_by_default = {"do_sample": True, "temperature": 0.01, "top_k": 1, "repetition_penalty": 5.0}
    path = tmp_path / "model" / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | greedy_by_default))
    other = TransformersAgent(str(tmp_path / "model"))
    prompt = plain.encode("What is 2 + 3?")
    params = SamplingParams(n=4, max_tokens=16, seed=0)
    assert plain.generate([prompt], params) == other.generate([prompt], params)
