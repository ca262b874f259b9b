"""A user's mistake is one line that names it, before anything is made or started."""

import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from agents.models import resolve_model
from runners.checks import check_run
from runners.grpo import main
from runners.run_options import parse_args, run_settings
from tests.runners.command_line import SMALL


@pytest.fixture
def refused(tmp_path, capsys, no_ray):
    """Runs a command line that must not start, and returns its one line."""

    def refuse(*arguments):
        capsys.readouterr()
        assert main(["--runs-dir", str(tmp_path / "runs"), "--name", "x", *SMALL, *map(str, arguments)]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert not (tmp_path / "runs").exists() or "process" in line  # Ray is asked last
        return line

    return refuse


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--steps", "-5"], "steps=-5, but it must be an int >= 0"),
        (["--eval-interval", "-1"], "eval_interval=-1, but it must be an int >= 0"),
        (["--eval-problems", "0"], "eval_problems=0, but it must be an int >= 1"),
        (["--checkpoint-interval", "0"], "checkpoint_interval=0, but it must be an int >= 1"),
        (["--checkpoint-interval", "-1"], "checkpoint_interval=-1, but it must be an int >= 1"),
        (["--keep-checkpoints", "0"], "keep_checkpoints=0, but it must be an int >= 1"),
        (["--max-minutes", "nan"], "max_minutes=nan, but it must be a number > 0"),
        (["--stop", "eval_acuracy>0.9"], "stop='eval_acuracy>0.9', but it must be a text of the form METRIC>NUMBER"),
        (["--num-threads", "0"], "num_threads=0, but it must be an int >= 1"),
        (["--num-gpus-per-learner", "-2"], "num_gpus_per_learner=-2.0, but it must be a number >= 0"),
        (["--set", "minibatch_size=0"], "minibatch_size=0, but it must be an int >= 1"),
        (["--set", "grad_clip=nan"], "grad_clip=nan, but it must be a number > 0"),
        (["--set", "share_prompts=maybe"], "share_prompts='maybe', but it must be True or False"),
        (["--set", "lr=true"], "lr=True, but it must be a number >= 0"),
        (["--set", "lr=inf"], "lr=inf, but it must be a number >= 0"),
        (["--set", "lr="], "lr=None, but it must be a number >= 0"),
        (["--set", "num_prompts=2.0"], "num_prompts=2.0, but it must be an int >= 1"),
        (["--set", "max_tokens=8.5"], "max_tokens=8.5, but it must be an int >= 1"),
        (["--set", "lr=[1"], "--set 'lr=[1': the value is not YAML; put it in quotes"),
        (["--set", "temperature=abc"], "temperature='abc', but it must be a number > 0"),
        (["--set", "adam_betas=3"], "adam_betas=3, but it must be 2 numbers in [0, 1)"),
        (["--set", "num_prompts=100000000"], "makes 400,000,000 sequences at once, but at most 1,048,576 are allowed"),
        (["--dataset", "builtin:1:99999999"], "at most 1,000,000"),
        (["--name", "../up"], "--name '../up': it must be the name of one folder"),
        (["--name", ".."], "--name '..': it must be the name of one folder"),
        (["--name", ""], "--name '': it must be the name of one folder"),
        (["--name", "a/b"], "--name 'a/b': it must be the name of one folder"),
        (["--env", "NoSuchEnv-v0"], "--env 'NoSuchEnv-v0': Environment `NoSuchEnv` doesn't exist"),
        (["--env", "no_such_module:Env-v0"], "--env 'no_such_module:Env-v0': No module named 'no_such_module'"),
        (["--env", "notamodule"], "--env 'notamodule'"),
        (["--env-option", "splitt=test"], "--env-option"),
        (["--eval-env-option", "splitt=test"], "--eval-env-option"),
        (["--engine-option", "dtypo=float32"], "The agent 'transformers' has no option 'dtypo'. Did you mean 'dtype'?"),
        (["--env", "a:b:c"], "--env 'a:b:c': write it as id, or module:id"),
        (["--env", "tests.runners.broken_envs:Numbers-v0"], "reset() returned (3, {}), not (a text, a dictionary)"),
        (["--set", "algorithm=3"], "algorithm=3, but it must be a name of docs/algorithms.md"),
        (["--algorithm", ""], "Unknown algorithm ''"),
        (["--eval-problems", "99999999999"], "eval_problems=99999999999 makes 99,999,999,999 sequences at once"),
        (["--seed", "99999999999"], "seed=99999999999, but it must be at most 4294967295"),
        (["--num-gpus-per-learner", "64"], "num_gpus_per_learner=64 with num_learners=0, but this process sees"),
        (["--num-env-runners", "100000"], "more than 16 processes for each of this machine's"),
        (["--resume", ""], "--resume '': no run there"),
        (["--engine-option", "max_model_len=abc"], "max_model_len='abc', but it must be an int >= 1, or None"),
        (["--set", "engine_options={dtype: 3}"], "'transformers' has the option dtype=3, but it must be one of 'auto'"),
        (["--engine-option", "model=x"], "engine_options={'model': 'x'}, but it must be a dictionary with texts"),
        (["--engine-option", "name=x"], "'transformers' has no option 'name'"),
        (["--engine", "scripted", "--engine-option", "script=print"], "script='print', but it must be a function"),
        (["--engine", ".x:y"], "No agent is called '.x:y': one of your own is named package.module:Class"),
        (["--engine", "json:nope"], "The agent 'json:nope': json has no class 'nope'"),
        (["--engine", "no.module:A"], "The agent 'no.module:A' cannot be imported: No module named 'no'"),
        (["--env", ".x:y"], "--env '.x:y': write it as id, or module:id"),
        (["--env-option", "id=x"], "'id' is no option of an environment"),
        (["--env-option", "max_episode_steps=x"], "max_episode_steps='x': it must be an int >= 1, or -1 for no limit"),
        (["--env-option", "max_episode_steps=0"], "max_episode_steps=0: it must be an int >= 1, or -1 for no limit"),
        (["--set", "advantage=.x:y"], "The advantage estimator '.x:y' is not of the form package.module:name"),
        (
            ["--set", "advantage=json:loads"],
            "'json:loads' is not called with (rewards, group_ids): too many positional",
        ),
        (["--set", "lr=&a [*a]"], "--set 'lr=&a [*a]': the value is not YAML"),
        (["--set", "lr=2001-13-45"], "--set 'lr=2001-13-45': the value is not YAML"),
        (["--set", "model=3"], "{'model': 3}: RLlib does not take it"),
        (["--set", "temperature=1e-300"], "temperature=1e-300, but it must be a number > 0, from 0.001 to 1000"),
        (["--set", "num_epochs=1000000000"], "num_epochs=1000000000, but it must be an int >= 1 and <= 1000"),
        (["--num-threads", "1000000"], "num_threads=1000000, but it must be an int >= 1 and <= 1024"),
        (["--set", "update_timeout_s=1e300"], "update_timeout_s=1e+300, but it must be a number > 0 and <= 1e9"),
        (["--interrupt-s", "1e300"], "interrupt_s=1e+300, but it must be a number > 0 and <= 1e9"),
        (["--dump-steps", "0"], "dump_steps='0', but it must be a text such as"),
        (["--set", "importance_level=sequence", "--set", "importance_cap="], "must be left at its default, 'token'"),
        (["--set", "importance_over_cap=mask", "--set", "importance_cap="], "without importance_cap"),
        (["--set", "kl_unbiased=true"], "kl_unbiased=True, but it must be left at its default, False, with kl_coeff=0"),
        (
            ["--set", "overlong_penalty=2"],
            "overlong_penalty=2, but it must be left at its default, 1.0, without overlong",
        ),
        (["--set", "max_refills=2"], "max_refills=2, but it must be left at its default, 4, without dynamic_sampling"),
        (["--set", "lora_alpha=8"], "lora_alpha=8, but it must be left at its default, None, without lora_rank"),
        (["--set", "lora_rank=1000000000"], "lora_rank=1000000000, but it must be at most 4096"),
        (["--eval-sampled-problems", "9"], "eval_sampled_problems=9, but it must be at most eval_problems=8"),
        (["--env-option", "dataset=builtin:2"], "--dataset builtin:1:64 and --env-option dataset=builtin:2: give one"),
        (["--model", "tiny", "--set", "policy_model=x"], "--model tiny and --set policy_model=x: give one of them"),
        (["--engine", "vllm", "--set", "engine=sglang"], "--engine vllm and --set engine=sglang: give one of them"),
        (["--set", "num_threads=2"], "--num-threads 1 and --set num_threads=2: give one of them"),
        (["--algorithm", "grpo", "--set", "algorithm=dapo"], "--algorithm grpo and --set algorithm=dapo: give one of"),
        (["--model", ""], "No model ''"),
        (["--name", "a\nb"], "it must be the name of one folder"),
        (["--name", " "], "--name ' ': it must be the name of one folder"),
        (["--name", "a\udcff"], "it must be the name of one folder"),
        (["--name", "a\0b"], "it must be the name of one folder"),
        (["--name", "x" * 256], "it must be the name of one folder"),
        (
            ["--num-gpus-per-env-runner", "64"],
            "num_gpus_per_env_runner=64 with num_env_runners=0, but this process sees",
        ),
    ],
)
def test_an_option(refused, arguments, message):
    assert message in refused(*arguments)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("run: {stepz: 3}", "There is no setting 'stepz'. Did you mean 'steps'?"),
        ("run: [1]", "run: [1], but it must be NAME: VALUE pairs"),
        ("run: {steps: true}", "steps=True, but it must be an int >= 0"),
        ("training: {lrr: 1.0}", "There is no setting 'lrr'. Did you mean 'lr'?"),
        ("agents: {engin: vllm}", "There is no setting 'engin'. Did you mean 'engine'?"),
        ("resources: {num_learners: two}", "num_learners='two', but it must be an int >= 0"),
        ("resources: {num_learner: 2}", "There is no setting 'num_learner'. Did you mean 'num_learners'?"),
        ("trainning: {lr: 1.0}", "has ['trainning']; its sections may be"),
        ("a: b: c", "is not YAML"),
        ("", "holds NoneType"),
        ("training: {1: 2}", "has 1 in training: a name must be a text"),
        ("agents: {engine_options: [1]}", "engine_options=[1], but it must be a dictionary"),
        ("agents: {engine_options: {1: 2}}", "engine_options={1: 2}, but it must be a dictionary with texts for names"),
        ("training: {lr: &a [*a]}", "but it must be a number >= 0"),
    ],
)
def test_a_preset(refused, tmp_path, text, message):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    assert message in refused("--preset", path)


@pytest.fixture
def model(tmp_path):
    return shutil.copytree(resolve_model("tiny"), tmp_path / "model")


def cut_weights(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def written(name, text):
    return lambda folder: (folder / name).write_text(text)


def with_another_bin(spoil):
    """The Trainer of transformers leaves training_args.bin beside the weights."""

    def spoil_too(folder):
        (folder / "training_args.bin").write_bytes(b"")
        spoil(folder)

    return spoil_too


def without_tokenizer(folder):
    for path in folder.glob("token*"):
        path.unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (cut_weights, "is not whole: model.safetensors missing or cut short in"),
        (without_tokenizer, "has no tokenizer that transformers can load"),
        (written("tokenizer.json", "{"), "has no tokenizer that transformers can load"),
        (lambda folder: (folder / "model.safetensors").unlink(), "is not whole: model.safetensors missing or cut"),
        (with_another_bin(cut_weights), "is not whole: model.safetensors missing or cut short in"),
        (written("config.json", "{"), "has a config.json that transformers cannot use: It looks like"),
        (written("config.json", "[1]"), "has a config.json that transformers cannot use"),
        (written("config.json", '{"model_type": "frobnicator"}'), "has a config.json that transformers cannot use"),
        (written("generation_config.json", '{"eos_token_id": "abc"}'), "eos_token_id='abc' in generation_config.json"),
        (written("model.safetensors.index.json", '{"weight_map": 3}'), "is not whole: model.safetensors.index.json"),
        (written("chat_template.jinja", "{% for %}"), "has a chat template or a generation_config.json that cannot be"),
        (
            written("chat_template.jinja", "{{ raise_exception('no') }}"),
            "generation_config.json that cannot be used: no",
        ),
        (written("generation_config.json", "{"), "has a chat template or a generation_config.json that cannot be"),
    ],
)
def test_a_model(refused, model, spoil, message):
    spoil(model)
    line = refused("--model", model)
    assert line.startswith(f"error: The model '{model}' ") and message in line


def test_a_runs_dir_that_cannot_be_made(tmp_path, capsys, no_ray):
    (tmp_path / "file").write_text("")
    assert main(["--runs-dir", str(tmp_path / "file"), "--name", "x", *SMALL]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"--runs-dir {tmp_path / 'file'}: " in line


def test_an_option_that_is_none(capsys):
    for option in ("--frobnicate", "--steps=x", "--runs-dir="):
        with pytest.raises(SystemExit):
            main([option])
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ") and option.partition("=")[0] in line and "--help" in line


@pytest.mark.slow
def test_weights_that_are_nan_are_named(tmp_path, capsys, model):
    path = model / "model.safetensors"
    save_file({name: array * np.float32("nan") for name, array in load_file(path).items()}, path, {"format": "pt"})
    assert main(["--runs-dir", str(tmp_path), "--name", "x", *SMALL, "--model", str(model)]) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert "NaN" in line and "model's files" in line and "dtype" not in line
    # The name is free: nothing was trained.
    assert main(["--runs-dir", str(tmp_path), "--name", "x", *SMALL, "--steps", "0"]) == 0


def notes(*arguments):
    return check_run(run_settings(parse_args([*SMALL, *map(str, arguments)])))


def test_evaluation_on_the_training_problems_is_not_called_held_out(tmp_path):
    path = tmp_path / "one.jsonl"
    path.write_text("".join(json.dumps({"question": f"{n} + 1?", "answer": f"#### {n + 1}"}) + "\n" for n in range(9)))
    checked = notes("--dataset", path)
    assert not checked.held_out and "evaluation is on the training problems" in checked.notes[0]
    assert notes().held_out
    addition = ["--env", "tests.runners.addition_env:Addition-v0"]
    assert check_run(run_settings(parse_args(addition))).held_out  # endless, with seeds of its own


def test_what_a_run_is_made_of_is_written_out(monkeypatch):
    monkeypatch.setenv("GSM8K_DATASET", "builtin:2")
    settings = notes("--dataset", "auto").settings
    assert settings["env_options"] == {"dataset": "builtin:2"}
    assert settings["training"]["kl_coeff"] == 0.0 and settings["run"]["keep_checkpoints"] == 2
    fingerprints = settings["fingerprints"]
    assert set(fingerprints) == {"train", "eval", "model"} and len(set(fingerprints.values())) == 3
