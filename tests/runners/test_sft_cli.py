"""`python runners/sft.py` shares its command line and its run folder with `python runners/grpo.py`."""

import pytest

import tests.runners.addition_env  # noqa: F401  (registers Addition-v0)
from runners import grpo, sft
from runners.run_folder.folder import read_run_config
from tests.runners.command_line import rows

SMALL = ["--dataset", "builtin:1-2:64", "--eval-problems", "4", "--eval-interval", "0", "--num-threads", "1"]
SMALL += ["--set", "num_prompts=4", "--checkpoint-interval", "1"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of three steps."""
    runs_dir = tmp_path_factory.mktemp("runs")
    assert sft.main(["--runs-dir", str(runs_dir), "--name", "straight", *SMALL, "--steps", "3"]) == 0
    return runs_dir / "straight"


@pytest.mark.slow
def test_the_folder_holds_what_grpo_leaves(finished):
    for name in (
        "provenance.json",
        "samples.jsonl",
        "learning_curve.png",
        "policy/model.safetensors",
        "best/config.json",
    ):
        assert (finished / name).stat().st_size > 0, name
    logged = rows(finished)
    assert [row["step"] for row in logged] == [0, 1, 2, 3]
    assert [row["step"] for row in logged if "eval_accuracy" in row] == [0, 3]
    assert all({"loss", "epoch", "num_completion_tokens", "entropy"} <= row.keys() for row in logged[1:])
    config = read_run_config(finished)
    assert (config["trainer"], config["preset"]) == ("sft", "tiny-sft")
    assert "group_size" not in config["training"] and config["training"]["num_prompts"] == 4


@pytest.mark.slow
def test_a_run_that_stopped_goes_on_to_the_same_metrics(finished, tmp_path):
    assert sft.main(["--runs-dir", str(tmp_path), "--name", "cut", *SMALL, "--stop", "loss>0"]) == 0
    assert len(rows(tmp_path / "cut")) == 2
    assert sft.main(["--resume", str(tmp_path / "cut"), "--steps", "3", "--stop", "loss<0"]) == 0
    ours, theirs = ([r["loss"] for r in rows(folder)[1:]] for folder in (tmp_path / "cut", finished))
    assert ours == theirs


@pytest.mark.slow
def test_the_other_script_is_named(finished, capsys):
    assert grpo.main(["--resume", str(finished)]) == 1
    error = capsys.readouterr().err
    assert f"--resume {finished}: the run is for python runners/sft.py, and this is runners/grpo.py." in error
    assert grpo.main(["--preset", "tiny-sft"]) == 1
    assert "--preset tiny-sft is for python runners/sft.py" in capsys.readouterr().err
    assert sft.main(["--preset", "tiny"]) == 1
    assert "--preset tiny is for python runners/grpo.py" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--set", "group_size=4"], "group_size=4, but it must be left out"),
        (["--set", "algorithm=dapo"], "algorithm='dapo', but it must be left out"),
        (["--env", "tests.runners.addition_env:Addition-v0"], "has no attribute `solution`"),
        (["--preset", "MINE"], "dump_steps='all', but it must be left out: runners/sft.py samples nothing"),
        (["--preset", "OTHER"], "trainer: 'stf': it must be one of grpo, sft. Did you mean 'sft'?"),
    ],
)
def test_what_means_nothing_here_is_a_line_before_anything_starts(tmp_path, capsys, no_ray, arguments, message):
    for name, text in (("MINE", "{trainer: sft, run: {dump_steps: all}}"), ("OTHER", "trainer: stf")):
        (tmp_path / f"{name}.yaml").write_text(text)
    arguments = [str(tmp_path / f"{part}.yaml") if part in ("MINE", "OTHER") else part for part in arguments]
    assert sft.main(["--runs-dir", str(tmp_path / "runs"), *arguments]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (tmp_path / "runs").exists()


def test_options_and_settings_of_grpo_alone_are_not_offered(capsys):
    for option, absent in (("--help", "--algorithm"), ("--help-settings", "`group_size`")):
        for script, offered in ((grpo, True), (sft, False)):
            with pytest.raises(SystemExit):
                script.main([option])
            assert (absent in capsys.readouterr().out) == offered
