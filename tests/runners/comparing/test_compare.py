"""Runs beside each other: by hand-made folders."""

import json
import math
import random

import pytest
import yaml

from runners.comparing import bands
from runners.comparing.command_line import main
from runners.run_folder.manifest import FORMAT

CONFIG = {
    "format": FORMAT,
    "preset": "mine",
    "seed": 0,
    "environment": "E-v0",
    "env_options": {},
    "eval_env_options": {},
    "run": {"steps": 3},
    "agents": {"engine": "transformers"},
    "training": {"lr": 1e-4, "adam_betas": [0.9, 0.95]},
    "resources": {},
    "fingerprints": {"train": "aa", "eval": "bb", "model": "cc"},
}


@pytest.fixture
def make(tmp_path):
    def make_run(name, rows, versions=None, **changes):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.yaml").write_text(yaml.safe_dump({**CONFIG, **changes}))
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        session = {"commit": "abc", "versions": versions or {"torch": "2.13.0"}}
        (folder / "provenance.json").write_text(json.dumps({"sessions": [session]}))
        return folder

    return make_run


def steps(*losses, **more):
    return [{"step": step, "loss": loss, "sample_s": random.random(), **more} for step, loss in enumerate(losses)]


def compare(capsys, *arguments):
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_runs_that_are_the_same_but_for_times(make, capsys):
    code, out, _ = compare(capsys, make("a", steps(1.0, math.nan)), make("b", steps(1.0, math.nan)))
    assert code == 0
    assert "settings: the same" in out and "problems and model: the same" in out
    assert "b: the same to the bit at all 2 steps in common, up to 1" in out


def test_what_differs_is_named(make, capsys):
    first = make("a", steps(1.0, 0.5, 0.25, eval_accuracy=0.5))
    other = make(
        "b",
        steps(1.0, 0.5, 0.125),
        versions={"torch": "2.12.0"},
        training={"lr": 2e-4, "adam_betas": [0.9, 0.95]},
        fingerprints={"train": "dd", "eval": "bb", "model": "cc"},
    )
    code, out, _ = compare(capsys, first, other)
    assert code == 0
    assert "  training.lr: 0.0001 | 0.0002" in out and "adam_betas" not in out
    assert "  train: aa | dd" in out and "  versions.torch: 2.13.0 | 2.12.0" in out
    assert "b: the same to the bit up to step 1; at step 2 loss 0.25 -> 0.125" in out
    assert [line.split() for line in out.splitlines() if line.startswith("  eval_accuracy")] == [
        ["eval_accuracy", "0.5", "-"]
    ]


@pytest.mark.parametrize(
    ("gate", "passes"),
    [
        ("loss@1 < 0.6", True),
        ("loss@1<0.5", False),
        ("loss <= 0.25", True),
        ("loss@9 < 1", False),
        ("entropy > 0", False),
    ],
)
def test_gates(make, capsys, gate, passes):
    code, out, _ = compare(capsys, make("a", steps(1.0, 0.5, 0.25)), "--gate", gate)
    assert (code, "passed" in out, "failed" in out) == (0 if passes else 1, passes, not passes)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--gate", "los > 1"], "--gate 'los > 1': expected METRIC@STEP"),
        (["--gate", "loss@x>1"], "expected METRIC@STEP"),
        (["--write-band", "../up"], "--write-band '../up': it must be the name of a preset"),
        (["--write-band", "mine"], "--write-band mine: a band is made of two runs or more"),
    ],
)
def test_gates_that_are_none(make, capsys, arguments, message):
    code, _, error = compare(capsys, make("a", steps(1.0)), *arguments)
    assert code == 2 and message in error


def test_a_band_that_cannot_be_written(make, capsys):
    code, _, error = compare(capsys, make("a", steps(1.0)), make("b", steps(1.0)), "--write-band", "x" * 300)
    assert code == 2 and error.startswith("error: ") and "too long" in error and error.count("\n") == 1


def test_folders_that_are_no_runs(tmp_path, make, capsys):
    code, _, error = compare(capsys, tmp_path)
    assert code == 2 and "no config.yaml" in error
    broken = make("a", steps(1.0))
    (broken / "metrics.jsonl").write_text("{\n")
    code, _, error = compare(capsys, broken)
    assert code == 2 and "metrics.jsonl, line 1" in error
    (broken / "metrics.jsonl").write_text('{"step": 1, "loss": null}\n')
    code, _, error = compare(capsys, broken)
    assert code == 2 and "metrics.jsonl, line 1, cannot be read (loss is None, not a number)" in error
    (broken / "metrics.jsonl").write_text("")
    (broken / "provenance.json").write_text("[]")
    code, _, error = compare(capsys, broken)
    assert code == 2 and "provenance.json cannot be read" in error


def noisy(seed, *, shift=0.0, at=0):
    """Twelve steps of a reward that rises with noise of deviation 0.01; from a step on it is shifted."""
    rng = random.Random(seed)
    return [{"step": 0}] + [
        {
            "step": n,
            "reward_mean": 0.1 * n + rng.gauss(0, 0.01) + shift * (n >= at),
            "grad_norm": math.exp(rng.gauss(0, 0.3)),
        }
        for n in range(1, 13)
    ]


def test_a_band_keeps_healthy_seeds_and_calls_out_others(make, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(bands, "FOLDER", tmp_path / "bands")
    healthy = [make(f"seed{seed}", noisy(seed), seed=seed) for seed in range(5)]
    assert compare(capsys, *healthy, "--write-band", "mine")[0] == 0
    for seed in range(5, 25):
        code, out, _ = compare(capsys, make(f"fresh{seed}", noisy(seed), seed=seed))
        assert code == 0 and "inside the band of 5 seeds at all 12 steps" in out, out
    code, out, _ = compare(capsys, make("shifted", noisy(30, shift=-0.3, at=8)))
    assert code == 1 and "outside the band of 5 seeds at step 8: reward_mean" in out
    code, out, _ = compare(capsys, make("other", noisy(31), training={"lr": 1.0, "adam_betas": [0.9, 0.95]}))
    assert code == 0 and "the band does not apply, other settings: training.lr" in out
