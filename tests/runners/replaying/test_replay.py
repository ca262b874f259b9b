"""A dumped step is done again without engine and environment."""

import gzip
import json
import shutil

import numpy as np
import pytest

from runners.replaying.command_line import main
from runners.replaying.dumps import Dump, read_rollouts, write_rollouts
from runners.sampling.rollout import Rollout
from tests.runners.command_line import SMALL, run

ALGORITHMS = {
    "grpo": [
        "--algorithm",
        "grpo",
        "--set",
        "lr=[[0, 1e-4], [100, 1e-5]]",
        "--set",
        "entropy_coeff=[[0, 0.1], [100, 0]]",
    ],
    "ppo": ["--algorithm", "ppo"],
    "lora": ["--set", "lora_rank=4", "--set", "kl_coeff=0.1", "--set", "lr=1e-3"],
}


def trained(runs, name):
    """The folder of a run that keeps steps 1 and 3."""
    done = run(runs, *SMALL, "--steps", "3", "--name", name, "--dump-steps", "1,3", *ALGORITHMS[name])
    assert done.returncode == 0, done.stderr
    return runs / name


@pytest.fixture(scope="module")
def grpo(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("runs"), "grpo")


@pytest.fixture
def dump(tmp_path):
    """The files of a dump without a rollout."""
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "counts.json").write_text('{"iteration": 2, "num_env_steps_sampled": 8}')
    (tmp_path / "outcome.json").write_text('{"statistics": {"loss": 0.5}, "weights": {"w": "ab"}}')
    write_rollouts(tmp_path / "rollouts.jsonl.gz", [])
    return tmp_path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *(("outcome.json", text) for text in (b"{", b"[]", b'{"statistics": {}}', b'{"statistics": 3, "weights": {}}')),
        *(("outcome.json", data) for data in (b"\xff", b"[" * 99_999, None)),
        *(("counts.json", text) for text in (b"{", b"[]", b'{"iteration": "x"}', None)),
        *(
            ("rollouts.jsonl.gz", data)
            for data in (b"", b"x", gzip.compress(b"{}\n", mtime=0), gzip.compress(b"{" * 99, mtime=0)[:-4], None)
        ),
    ],
)
def test_a_dump_that_is_broken_says_which_file(dump, name, content):
    assert Dump.read(dump).iteration == 2
    (dump / name).unlink()
    if content is not None:
        (dump / name).write_bytes(content)
    if content == b"":
        assert Dump.read(dump).rollouts == []  # the number of them is compared with the settings
        return
    with pytest.raises(ValueError, match=r"dump the step again, or replay another\.") as error:
        Dump.read(dump)
    assert str(dump / name) in str(error.value) and "\n" not in str(error.value)


def test_a_dump_without_its_checkpoint(dump):
    (dump / "checkpoint").rmdir()
    with pytest.raises(ValueError, match="checkpoint is missing"):
        Dump.read(dump)


def test_rollouts_come_back_as_they_were(tmp_path):
    rollout = Rollout(
        group_id=3,
        observation="\ud800 1 + 1?",
        text="2\n",
        prompt_token_ids=(1, 2),
        completion_token_ids=(5, 6, 7),
        completion_mask=np.array([True, False, True]),
        rollout_logprobs=np.array([-0.1, 0.0, -1e-7], dtype=np.float32),
        policy_version=2,
        reward=float("nan"),
        correct=None,
        finish_reason="length",
        turn_lengths=(1, 1),
        info={"index": 4, "ground_truth": "2"},
    )
    write_rollouts(tmp_path / "rollouts.jsonl.gz", [rollout, rollout])
    for read in read_rollouts(tmp_path / "rollouts.jsonl.gz"):
        np.testing.assert_equal(
            {name: getattr(read, name) for name in Rollout.__slots__},
            {name: getattr(rollout, name) for name in Rollout.__slots__},
        )
        assert read.rollout_logprobs.dtype == np.float32 and read.completion_token_ids == (5, 6, 7)


@pytest.mark.slow
def test_a_step_after_the_first_checkpoint_is_the_same_to_the_bit(grpo, capsys):
    assert main([str(grpo), "--step", "3"]) == 0
    out = capsys.readouterr().out
    assert "statistics and 29 weights are the same to the bit" in out


@pytest.mark.slow
def test_another_loss_is_told_apart(grpo, capsys):
    assert main([str(grpo), "--step", "3", "--set", "advantage=dr_grpo"]) == 0
    out = capsys.readouterr().out
    assert "it differs" in out and "loss " in out and "29 of 29 weights differ" in out


@pytest.mark.slow
def test_what_is_not_the_same_fails(grpo, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(grpo, copy)
    path = copy / "dumps" / "step_000003" / "outcome.json"
    outcome = json.loads(path.read_text())
    outcome["statistics"]["loss"] += 1e-12
    path.write_text(json.dumps(outcome))
    assert main([str(copy), "--step", "3"]) == 1
    assert "loss " in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--step", "2"], "--step 2: no dump of it"),
        (["--step", "3", "--set", "lr=-1"], "lr=-1, but it must be"),
        (["--step", "3", "--set", "lrr=1"], "Did you mean 'lr'"),
    ],
)
def test_refusals(grpo, capsys, arguments, message):
    assert main([str(grpo), *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1


@pytest.mark.slow
def test_a_model_that_cannot_be_loaded_is_one_line(grpo, tmp_path, capsys):
    (tmp_path / "config.json").write_text("{")
    assert main([str(grpo), "--step", "3", "--set", f"policy_model={tmp_path}"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: The model in {tmp_path} cannot be loaded: ")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ppo", "lora"])
def test_other_algorithms(tmp_path, capsys, name):
    folder = trained(tmp_path, name)
    for step in ("1", "3"):
        assert main([str(folder), "--step", step]) == 0
        assert "are the same to the bit" in capsys.readouterr().out


@pytest.mark.slow
def test_another_number_of_learners_rounds_alone(grpo, capsys):
    assert main([str(grpo), "--step", "3", "--num-learners", "2"]) == 0
    out = capsys.readouterr().out
    (line,) = [line for line in out.splitlines() if line.lstrip().startswith("loss ")]
    assert abs(float(line.split()[-1])) < 1e-6


@pytest.mark.slow
def test_a_scored_dump_has_the_learners_logprobs_of_its_tokens(grpo, capsys):
    """They differ from the engine's by rounding, as the step's own statistic says: groups of four are kept whole."""
    from runners.reporting.command_line import main as report
    from runners.run_folder.reading import read_rows

    assert report([str(grpo), "--score-dumps"]) == 0
    assert "scored" in capsys.readouterr().out
    metrics = {row["step"]: row for row in read_rows(grpo / "metrics.jsonl")}
    kept = {(row["step"], row["group_id"], row["member"]): row for row in read_rows(grpo / "rollouts.jsonl")}
    for step in (1, 3):
        rows = list(read_rows(grpo / "dumps" / f"step_{step:06d}" / "scored.jsonl"))
        apart = np.concatenate([np.abs(row["rollout_logprob_diff"]) for row in rows])
        assert len(rows) == 16
        assert 0 < apart.max() < 1e-4 and 0 < metrics[step]["rollout_logprob_diff_max"] < 1e-4
        assert apart.mean() == pytest.approx(metrics[step]["rollout_logprob_diff_mean"], rel=2, abs=1e-6)
        for row in rows:
            del row["rollout_logprob_diff"]
            assert row == kept[step, row["group_id"], row["member"]]
    assert report([str(grpo), "--score-dumps"]) == 0
    assert "scored" not in capsys.readouterr().out
