import json

import pretrained
import pytest
from _paired_test import exact_mcnemar

from runners.run_options import build_config, parse_args, run_settings
from runners.training.trainers import GRPO, SFT

SCORE = {"accuracy": 0.5, "wilson_95": [0.2, 0.8]}


@pytest.mark.parametrize(
    "gained, lost, p_value",
    [(0, 0, 1.0), (5, 5, 1.0), (6, 0, 2 / 64), (9, 1, 2 * (1 + 10) / 1024)],
)
def test_the_paired_test_by_hand(gained, lost, p_value):
    before = [False] * gained + [True] * lost + [True, False]
    after = [True] * gained + [False] * lost + [True, False]
    assert exact_mcnemar(before, after) == exact_mcnemar(after, before) == pytest.approx(p_value)


def test_the_presets_sample_and_learn_alike():
    warm, grpo = (
        build_config(run_settings(parse_args(["--preset", f"smollm2-135m-{trainer.name}"], trainer)))
        for trainer in (SFT, GRPO)
    )
    for name in ("policy_model", "env", "env_config", "temperature", "max_tokens", "max_prompt_tokens"):
        assert getattr(warm, name) == getattr(grpo, name), name
    assert warm.temperature == pretrained.SAMPLING["sampled"]


def test_what_is_done_is_not_done_again(tmp_path, monkeypatch):
    calls = []

    def call(script, *arguments):
        calls.append([script, *map(str, arguments)])
        folder.mkdir(exist_ok=True)
        (folder / "metrics.jsonl").write_text('{"step": 0}\n')
        if len(calls) == 1:
            raise SystemExit(130)

    monkeypatch.setattr(pretrained, "call", call)
    folder = tmp_path / "warm"
    with pytest.raises(SystemExit):
        pretrained.train("sft.py", folder, ["--seed", "1"])
    for _ in range(2):
        assert pretrained.train("sft.py", folder, ["--seed", "1"]) == [{"step": 0}]
    assert calls == [
        ["sft.py", "--runs-dir", str(tmp_path), "--name", "warm", "--seed", "1"],
        ["sft.py", "--resume", str(folder)],
    ]


def test_figures_and_picture(tmp_path):
    def stage(correct):
        return {kind: {**SCORE, "correct": correct} for kind in pretrained.SAMPLING}

    scores = {"base": stage([False] * 6), "warm start": stage([False] * 6), "GRPO": stage([True] * 6)}
    rows = [{"step": 0}, {"step": 1, "sample_s": 1.0, "update_s": 2.0, "reward_mean": 0.5, "zero_variance_share": 0.0}]
    figures = pretrained.figures_of(scores, {"warm start": [{"step": 0}, {"step": 1, "loss": 2.0}], "GRPO": rows})
    assert figures["GRPO"]["p_value_against_warm_start"]["greedy"] == 2 / 64
    assert (figures["GRPO"]["training_s"], figures["GRPO"]["steps"]) == (3.0, 1)
    assert figures["warm start"]["curve"] == [{"step": 1, "loss": 2.0}]
    assert "correct" not in json.dumps(figures)
    pretrained.plot(figures, tmp_path / "picture.png", "a title")
    assert (tmp_path / "picture.png").stat().st_size > 0
