"""Resume takes what it can mean, refuses what it cannot by name, and goes on from the newest whole checkpoint."""

import json
import pickle
import shutil

import pytest
import yaml

from agents.models import resolve_model
from runners.grpo import main
from runners.rllib.checkpoint import read_from
from runners.run_folder.manifest import write_manifest
from runners.run_folder.opening import open_run
from runners.run_options import parse_args
from tests.runners.command_line import SMALL, rows, run


@pytest.fixture
def refused(copied, capsys, no_ray):
    """Resumes the copy, which must not start, and returns its one line; nothing in the folder has changed."""

    def refuse(*arguments):
        before = content(copied)
        capsys.readouterr()
        assert main(["--resume", str(copied), *map(str, arguments)]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert content(copied) == before
        return line

    return refuse


def content(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "lock"
    }


def opened(folder, *arguments):
    """What a resume would go on with."""
    opened_run = open_run(parse_args(["--resume", str(folder), *map(str, arguments)]))
    opened_run.folder.close()
    return opened_run


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seed", "1"], "seed is 1, not 0"),
        (["--engine", "scripted"], "--engine is 'scripted', not 'transformers'"),
        (["--set", "lr=1"], "lr is 1, not 0.0001"),
        (["--set", "gruop_size=1"], "Did you mean 'group_size'"),
        (["--algorithm", "dr_grpo"], "algorithm is 'dr_grpo', not None"),
        (["--dataset", "builtin:2:64"], "sha256 of the training problems"),
        (["--env-option", "grading=boxed"], "env_options.grading is 'boxed', not None"),
        (["--env", "gsm8k_env:GSM8KMultiTurn-v0"], "--env is 'gsm8k_env:GSM8KMultiTurn-v0'"),
        (["--preset", "smollm2-135m"], "preset is 'smollm2-135m', not 'tiny'"),
        (["--name", "other"], "--name other with --resume"),
        (["--runs-dir", "elsewhere"], "elsewhere with --resume"),
        (["--steps", "-1"], "steps=-1"),
    ],
)
def test_an_option_that_it_cannot_mean(refused, arguments, message):
    assert message in refused(*arguments)


def test_options_that_it_can_mean(copied):
    changes = ["--steps", 6, "--checkpoint-interval", 3, "--num-learners", 2, "--num-threads", 2, "--stop", "loss<-9"]
    same = ["--seed", 0, "--model", "tiny", "--name", copied.name, "--runs-dir", copied.parent, *SMALL]
    run_ = opened(copied, *same, "--set", "micro_batch_tokens=64", *changes)
    assert run_.first == 4 and run_.notes == ()
    assert (run_.settings["run"]["steps"], run_.settings["run"]["checkpoint_interval"]) == (6, 3)
    assert run_.settings["resources"]["num_learners"] == 2 and run_.settings["agents"]["num_threads"] == 2
    assert run_.settings["training"]["micro_batch_tokens"] == 64
    assert opened(copied).settings == run_.settings  # config.yaml has them now
    sessions = json.loads((copied / "provenance.json").read_text())["sessions"]
    assert [session["first_step"] for session in sessions] == [0, 4, 4]
    assert "--steps 6" in sessions[1]["command"] and sessions[0]["settings"]["run"]["steps"] == 4


def test_the_same_model_and_problems_may_lie_elsewhere(copied, tmp_path):
    opened(copied, "--model", shutil.copytree(resolve_model("tiny"), tmp_path / "tiny-copy"))


def test_another_model_of_the_same_name(refused, copied):
    path = copied / "checkpoints" / "step_000004" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["config"]["fingerprints"]["model"] = "another"
    path.write_text(json.dumps(manifest))
    assert "sha256 of the model" in refused()


def edit(folder, change):
    path = folder / "config.yaml"
    config = yaml.safe_load(path.read_text())
    change(config)
    path.write_text(yaml.safe_dump(config))


def test_an_edited_config(refused, copied):
    edit(copied, lambda config: config["training"].update(lr=1.0))
    assert "lr is 1.0, not 0.0001" in refused()
    edit(copied, lambda config: config["training"].update(lr=1e-4, lrr=1))
    assert "There is no setting 'lrr'" in refused()
    edit(copied, lambda config: (config["training"].pop("lrr"), config["run"].update(stepz=3)))
    assert "There is no setting 'stepz'" in refused()
    edit(copied, lambda config: config.pop("format"))
    assert "is of format None, and this version reads format 1" in refused()
    (copied / "config.yaml").write_text("")
    assert "config.yaml' holds NoneType" in refused()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("metrics.jsonl", '{"step": NaN}\n'),
        ("metrics.jsonl", '{"step": true}\n'),
        ("metrics.jsonl", '{"step": 1, "loss": "low"}\n'),
        ("best/evaluation.json", "{"),
        ("best/evaluation.json", '{"eval_accuracy": "high"}'),
        ("best/evaluation.json", "[1]"),
        ("provenance.json", "[]"),
        ("provenance.json", '{"sessions": [3]}'),
        ("provenance.json", "[" * 99_999),
    ],
)
def test_a_file_that_holds_something_else(refused, copied, name, text):
    (copied / name).write_text(text)
    assert f"{copied / name}" in refused()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda manifest: manifest.update(config=3), "holds int, but it must hold sections"),
        (lambda manifest: manifest["config"].pop("training"), "lacks training"),
        (lambda manifest: manifest["config"].update(training=[1]), "has training: [1], but it must be NAME: VALUE"),
    ],
)
def test_a_manifest_that_holds_something_else(refused, copied, change, message):
    for step in (3, 4):
        path = copied / "checkpoints" / f"step_00000{step}" / "manifest.json"
        manifest = json.loads(path.read_text())
        change(manifest)
        path.write_text(json.dumps(manifest))
    assert message in refused()


def test_a_broken_line(refused, copied):
    with (copied / "samples.jsonl").open("a") as file:
        file.write("{\n")
    assert "samples.jsonl, line" in refused()


def test_the_newest_whole_checkpoint_is_gone_on_from(copied):
    (copied / "checkpoints" / "step_000004" / "algorithm_state.pkl").write_bytes(b"cut")
    run_ = opened(copied)
    broken, said = run_.notes
    assert run_.first == 3 and "step_000004 is broken: not as written: algorithm_state.pkl" in broken
    assert said.endswith("step_000003")
    assert [row["step"] for row in rows(copied)] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda checkpoint: checkpoint.rename(checkpoint.with_name("step_000009")), "was made after step 4"),
        (lambda checkpoint: (shutil.rmtree(checkpoint), checkpoint.write_text("")), "manifest.json cannot be read"),
        (lambda checkpoint: (shutil.rmtree(checkpoint), checkpoint.symlink_to("gone")), "manifest.json cannot be read"),
    ],
)
def test_a_checkpoint_that_is_another_or_none_is_spoken_of(copied, spoil, message):
    spoil(copied / "checkpoints" / "step_000004")
    run_ = opened(copied)
    broken, said = run_.notes
    assert run_.first == 3 and message in broken and said.endswith("step_000003")


def test_no_checkpoint_is_left(refused, copied):
    for step in (3, 4):
        (copied / "checkpoints" / f"step_00000{step}" / "algorithm_state.pkl").write_bytes(b"cut")
    line = refused()
    assert line.count("is broken: not as written") == 2 and "start a new run" in line
    shutil.rmtree(copied / "checkpoints")
    (copied / "checkpoints").mkdir()
    assert "its metrics go to step 4, but" in refused()


def test_a_run_killed_before_its_first_checkpoint_begins_anew_and_says_so(copied):
    shutil.rmtree(copied / "checkpoints")
    edit(copied, lambda config: config["run"].update(checkpoint_interval=10))
    run_ = opened(copied)
    assert run_.first == 0 and run_.notes == ("no checkpoint was made before it stopped: it begins anew",)


def test_metrics_that_are_gone_are_spoken_of(copied):
    text = (copied / "metrics.jsonl").read_text()
    (copied / "metrics.jsonl").unlink()
    assert opened(copied).notes[0].startswith("metrics.jsonl is gone: the rows up to step 4 are lost")
    (copied / "metrics.jsonl").write_text("".join(text.splitlines(keepends=True)[:3]))
    assert opened(copied).notes[0].startswith("metrics.jsonl ends at step 2: the rows up to step 4 are lost")


def test_a_second_process_is_refused(copied, capsys, no_ray):
    held = open_run(parse_args(["--resume", str(copied)]))
    assert main(["--resume", str(copied)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{copied} is in use by process" in line
    held.folder.close()


@pytest.mark.parametrize("state", [b"", b"cut", b"garbage", b"cnowhere\nX\n.", b"cjson\nX\n."])
def test_a_state_that_another_version_wrote(state):
    with (
        pytest.raises(ValueError, match=r"The state in x cannot be taken \(\w+Error.* from its policy with --model"),
        read_from("x"),
    ):
        pickle.loads(state)


@pytest.mark.slow
def test_a_state_that_cannot_be_read_is_one_line(copied):
    checkpoint = copied / "checkpoints" / "step_000004"
    (checkpoint / "algorithm_state.pkl").write_bytes(pickle.dumps([1]))
    (checkpoint / "manifest.json").unlink()
    config = yaml.safe_load((copied / "config.yaml").read_text())
    write_manifest(checkpoint, step=4, config={name: part for name, part in config.items() if name != "format"})
    done = run(copied.parent, "--resume", copied, "--steps", 5)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert f"error: The state in {checkpoint} cannot be taken (AttributeError: " in done.stderr


@pytest.mark.slow
def test_after_the_fall_back_the_metrics_are_the_same(finished, copied):
    (copied / "checkpoints" / "step_000004" / "algorithm_state.pkl").write_bytes(b"cut")
    done = run(copied.parent, "--resume", copied)
    assert done.returncode == 0, done.stderr
    assert "step_000004 is broken" in done.stdout and "resumed after step 3" in done.stdout
    assert rows(copied) == rows(finished[0])
    policy = "policy/model.safetensors"
    assert (copied / policy).read_bytes() == (finished[0] / policy).read_bytes()
