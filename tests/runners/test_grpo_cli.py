"""`python runners/grpo.py` as a user runs it, in processes of its own."""

import os
import signal
import subprocess
import time

import pytest

import tests.runners.addition_env  # noqa: F401  (registers Addition-v0)
from runners.grpo import main
from tests.runners.command_line import ROOT, SMALL, command, rows, run

WITH_TESTS = {**os.environ, "PYTHONPATH": str(ROOT)}


def test_the_folder_holds_what_is_promised(finished):
    folder, output = finished
    files = ("config.yaml", "provenance.json", "metrics.jsonl", "samples.jsonl", "rollouts.jsonl")
    files += ("learning_curve.png", "report.html")
    policies = ("policy", "best", "checkpoints/step_000003/policy", "checkpoints/step_000004/policy")
    for name in (*files, *(f"{policy}/model.safetensors" for policy in policies)):
        assert (folder / name).stat().st_size > 0, name
    assert any((folder / "tensorboard").iterdir())
    assert [p.name for p in sorted((folder / "checkpoints").iterdir())] == ["step_000003", "step_000004"]
    assert [row["step"] for row in rows(folder)] == [0, 1, 2, 3, 4]
    assert [row["step"] for row in rows(folder) if "eval_accuracy" in row] == [0, 2, 4]
    assert "step 4/4" in output and "held-out problems" in output


def wait_for_step(folder, step, process):
    deadline = time.monotonic() + 120
    while not (folder / "metrics.jsonl").exists() or len(rows(folder)) <= step:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("number, returncode", [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_an_interrupted_run_goes_on_to_the_same_metrics(finished, tmp_path, number, returncode):
    straight, _ = finished
    process = subprocess.Popen(
        command(tmp_path, *SMALL, "--steps", 4, "--name", "cut"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    folder = tmp_path / "cut"
    wait_for_step(folder, 2, process)
    process.send_signal(number)
    process.communicate(timeout=120)
    if number == signal.SIGKILL:
        os.killpg(process.pid, signal.SIGKILL)  # Ray's processes, which a kill -9 leaves behind
    assert process.returncode == returncode
    assert len(rows(folder)) < 5
    resumed = run(tmp_path, "--resume", folder)
    assert resumed.returncode == 0, resumed.stderr
    assert "resumed after step" in resumed.stdout
    assert rows(folder) == rows(straight)
    for name in ("samples.jsonl", "rollouts.jsonl"):
        assert (folder / name).read_bytes() == (straight / name).read_bytes()


def test_a_finished_name_is_not_overwritten(finished, capsys):
    folder, _ = finished
    assert main(["--runs-dir", str(folder.parent), "--name", folder.name]) == 1
    assert f"--resume {folder}" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--preset", "tinny"], "Did you mean 'tiny'?"),
        (["--model", "no-such-model"], "No model 'no-such-model': neither 'tiny'"),
        (["--engine", "vlm"], "Did you mean 'vllm'?"),
        (["--dataset", "no/such/file.jsonl"], "no/such/file.jsonl"),
        (["--set", "group_size=1"], "a group of one has no baseline"),
        (["--set", "max_prompt_tokens=3"], "Every prompt is longer than max_prompt_tokens=3"),
        (["--resume", "no-such-run"], "no run there"),
    ],
)
def test_a_wrong_option_is_one_clear_line(tmp_path, capsys, arguments, message):
    assert main(["--runs-dir", str(tmp_path), "--name", "x", *SMALL, *arguments]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--set", "lr=-1"], "lr=-1, but it must be a number >= 0"),
        (["--set", "grad_clip=-1"], "grad_clip=-1, but it must be a number > 0"),
        (["--set", "kl_coeff=-1"], "kl_coeff=-1, but it must be a number >= 0"),
        (["--set", "weight_decay=-1"], "weight_decay=-1, but it must be a number >= 0"),
        (["--seed", "-1"], "seed=-1, but it must be an int >= 0"),
        (["--num-learners", "-1"], "num_learners=-1, but it must be an int >= 0"),
        (["--num-env-runners", "-1"], "num_env_runners=-1, but it must be an int >= 0"),
    ],
)
def test_minus_one_is_refused_before_anything_starts(tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.setattr("ray.init", lambda **options: pytest.fail("Ray was started"))
    assert main(["--runs-dir", str(tmp_path), "--name", "x", *SMALL, *arguments]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_full_disk_names_the_last_good_checkpoint(tmp_path, capsys, monkeypatch):
    import runners.run_folder.folder as folder_module

    save = folder_module.RunFolder.save_checkpoint

    def full_from_the_second_on(self, step, *arguments, **options):
        if step == 2:
            raise OSError(28, "No space left on device")
        return save(self, step, *arguments, **options)

    monkeypatch.setattr(folder_module.RunFolder, "save_checkpoint", full_from_the_second_on)
    assert main(["--runs-dir", str(tmp_path), "--name", "full", *SMALL, "--steps", "3"]) == 1
    error = capsys.readouterr().err
    assert "No space left on device" in error
    assert str(tmp_path / "full" / "checkpoints" / "step_000001") in error


@pytest.mark.slow
def test_another_environment_from_the_command_line(tmp_path):
    arguments = ["--env", "tests.runners.addition_env:Addition-v0", "--env-option", "digits=1"]
    assert main(["--runs-dir", str(tmp_path), "--name", "sum", *SMALL[2:], *arguments, "--steps", "1"]) == 0
    assert rows(tmp_path / "sum")[-1]["epoch"] == 0.0


@pytest.mark.slow
def test_an_engine_that_dies_is_restarted_and_the_step_repeated(tmp_path, monkeypatch, caplog):
    from agents import EngineError
    from agents.transformers_agent import TransformersAgent

    generate, restarts = TransformersAgent.generate, []

    def dies_once(self, prompts, params):
        if self.policy_version == 1 and len(prompts) > 1 and not restarts:
            raise EngineError("The engine process 1 is gone.")
        return generate(self, prompts, params)

    monkeypatch.setattr(TransformersAgent, "generate", dies_once)
    monkeypatch.setattr(TransformersAgent, "restart", lambda self: restarts.append(self.policy_version))
    assert main(["--runs-dir", str(tmp_path), "--name", "dies", *SMALL, "--steps", "3", "--eval-interval", "0"]) == 0
    assert restarts == [1]
    assert "The engine of env runner 0 failed: The engine process 1 is gone." in caplog.text
    assert [row["step"] for row in rows(tmp_path / "dies")] == [0, 1, 2, 3]


@pytest.mark.slow
@pytest.mark.parametrize("option", [["--stop", "completion_tokens_mean>0"], ["--max-minutes", "0.0001"]])
def test_a_run_that_is_to_end_early_ends_like_its_last_step(tmp_path, option):
    assert main(["--runs-dir", str(tmp_path), "--name", "x", *SMALL, "--eval-interval", "0", *option]) == 0
    folder = tmp_path / "x"
    assert [row["step"] for row in rows(folder) if "eval_accuracy" in row] == [0, 1]
    assert (folder / "checkpoints" / "step_000001").is_dir()
    assert (folder / "policy" / "model.safetensors").is_file() and (folder / "best" / "config.json").is_file()


@pytest.mark.slow
def test_a_step_that_never_ends_does_not_keep_a_signal_waiting(tmp_path):
    preset = tmp_path / "slow.yaml"
    preset.write_text("run: {interrupt_s: 2}")
    endless = ["--env", "tests.runners.broken_envs:Endless-v0", "--preset", preset, "--name", "x", "--no-preflight"]
    process = subprocess.Popen(
        command(tmp_path, *SMALL[2:], *endless),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        env=WITH_TESTS,
    )
    wait_for_step(tmp_path / "x", 1, process)
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    started = time.monotonic()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130 and time.monotonic() - started < 30
    assert "did not end within 2 s" in output
    assert f"Last checkpoint: {tmp_path}/x/checkpoints/step_000001. Go on: python runners/grpo.py --resume" in output


@pytest.mark.slow
@pytest.mark.parametrize("num_env_runners", [0, 1])
def test_a_fault_shows_its_whole_traceback(tmp_path, num_env_runners):
    faulty = ["--env", "tests.runners.broken_envs:Faulty-v0", "--name", "x", "--num-env-runners", num_env_runners]
    faulty.append("--no-preflight")
    process = subprocess.run(
        command(tmp_path, *SMALL[2:], *faulty), capture_output=True, text=True, cwd=ROOT, timeout=240, env=WITH_TESTS
    )
    assert process.returncode == 1
    assert "Traceback (most recent call last)" in process.stderr
    assert 'broken_envs.py", line' in process.stderr and "a fault of its author" in process.stderr
    assert f"Last checkpoint: {tmp_path}/x/checkpoints/step_000001. Go on:" in process.stderr


@pytest.mark.slow
def test_a_broken_environment_and_missing_rewards_are_a_line(tmp_path, capsys):
    arguments = ["--runs-dir", str(tmp_path), *SMALL[2:], "--steps", "1"]
    assert main([*arguments, "--name", "a", "--env", "tests.runners.broken_envs:Broken-v0"]) == 1
    error = capsys.readouterr().err
    assert "error: The environment Broken-v0: step() returned the reward inf" in error and "Traceback" not in error
    assert "episode.py" in (tmp_path / "a" / "traceback.txt").read_text()
    missing = ["--env", "tests.runners.addition_env:Addition-v0", "--env-option", "reward=missing"]
    assert main([*arguments, "--name", "b", *missing]) == 0
    assert "note: no episode of step 1 has a reward" in capsys.readouterr().out
