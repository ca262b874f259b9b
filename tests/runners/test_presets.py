import shlex
from pathlib import Path

import pytest
import yaml

from runners.objectives.algorithms import ALGORITHMS
from runners.presets.loading import load_preset, preset_names
from runners.run_options import build_config, parse_args, run_settings
from runners.training.trainers import TRAINERS, trainer_of

LAUNCH = Path(__file__).resolve().parents[2] / "launch"


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_makes_a_valid_configuration(name):
    preset = load_preset(name)
    config = build_config(run_settings(parse_args(["--preset", name], trainer_of(preset))))
    config.validate()
    assert preset["description"]


def test_each_script_offers_its_own_presets():
    offered = {trainer: set(preset_names(trainer)) for trainer in TRAINERS}
    assert set().union(*offered.values()) == set(preset_names())
    assert "tiny" in offered["grpo"] - offered["sft"] and "tiny-sft" in offered["sft"] - offered["grpo"]


def test_qwen_preset_has_the_settings_it_must_carry():
    settings = run_settings(parse_args(["--preset", "qwen2.5-0.5b"]))
    config = build_config(settings)
    assert config.policy_model == "Qwen/Qwen2.5-0.5B-Instruct"
    assert (config.num_prompts, config.group_size, config.minibatch_size) == (256, 4, 64 * 4)
    assert (config.temperature, config.lr) == (1.0, 1e-6)
    assert (config.max_prompt_tokens, config.max_tokens) == (512, 1024)
    assert (config.kl_coeff, config.kl_estimator, config.kl_placement) == (1e-3, "k3", "loss")
    assert (settings["run"]["eval_interval"], settings["run"]["checkpoint_interval"]) == (5, 10)


def test_the_preset_for_two_nodes_shards_the_learners_and_shares_their_gpus():
    config = build_config(run_settings(parse_args(["--preset", "qwen2.5-32b"])))
    assert config.policy_model == "Qwen/Qwen2.5-32B-Instruct"
    assert (config.num_prompts, config.group_size, config.kl_coeff) == (32, 4, 0.0)
    assert (config.num_learners, config.num_gpus_per_learner, config.fully_shard) == (16, 1, True)
    assert (config.num_env_runners, config.gpus_per_engine, config.num_gpus_per_env_runner) == (4, 4, 0)
    assert config.engine_options["tensor_parallel_size"] == 4
    assert config.custom_resources_per_env_runner == {"engine": 1}


@pytest.mark.parametrize("path", sorted(LAUNCH.glob("*.yaml")), ids=lambda path: path.stem)
def test_launch_files_start_a_job_that_there_is(path):
    job = yaml.safe_load(path.read_text())
    [command] = [line for line in job["run"].splitlines() if "runners/grpo.py" in line]
    config = build_config(run_settings(parse_args(shlex.split(command.partition("runners/grpo.py")[2]))))
    config.validate()
    [gpus] = job["resources"]["accelerators"].split(":")[1:]
    engines = config.num_env_runners * config.num_gpus_per_env_runner
    assert engines + config.num_learners * config.num_gpus_per_learner == job["num_nodes"] * int(gpus)


def test_unknown_resources_are_refused(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("resources: {num_learner: 2}")
    with pytest.raises(ValueError, match=r"no setting 'num_learner'\. Did you mean 'num_learners'\?"):
        build_config(run_settings(parse_args(["--preset", str(path)])))


def test_unknown_preset_lists_the_known():
    with pytest.raises(ValueError, match=r"Did you mean 'tiny'\? Known: .*tiny"):
        load_preset("tinny")


def test_unknown_section_is_refused(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("trainning: {lr: 1.0}")
    with pytest.raises(ValueError, match="trainning"):
        load_preset(str(path))


def test_the_command_line_goes_over_the_preset():
    changes = {"lr": "1e-3", "aggregation": "sequence-mean"}
    assignments = [part for name, value in changes.items() for part in ("--set", f"{name}={value}")]
    options = ["--engine-option", "dtype=float32", "--dataset", "builtin:3", "--steps", "7", "--model", "smollm2-135m"]
    args = parse_args([*assignments, *options])
    settings = run_settings(args)
    assert settings["training"]["lr"] == 1e-3
    assert settings["training"]["aggregation"] == "sequence-mean"
    assert settings["env_options"]["dataset"] == "builtin:3"
    assert settings["run"]["steps"] == 7
    assert settings["agents"]["policy_model"] == "smollm2-135m"
    assert settings["agents"]["engine_options"] == {"dtype": "float32"}


@pytest.mark.parametrize("by", [["--algorithm", "dapo"], ["--set", "algorithm=dapo"]])
def test_an_algorithm_goes_over_the_preset_and_set_over_it(tmp_path, by):
    preset = tmp_path / "mine.yaml"
    preset.write_text(
        "environment: gsm8k_env:GSM8K-v0\ntraining: {lr: 1.0e-5, kl_coeff: 0.5, clip_param_high: 0.3, dual_clip: 3.0}"
    )
    settings = run_settings(parse_args(["--preset", str(preset), *by, "--set", "dual_clip=4"]))
    config = build_config(settings)
    assert (config.lr, config.kl_coeff, config.clip_param_high, config.dual_clip) == (1e-5, 0.0, 0.28, 4)
    assert config.algorithm == settings["training"]["algorithm"] == "dapo" and settings["training"]["dynamic_sampling"]


def test_help_lists_the_algorithms(capsys):
    with pytest.raises(SystemExit):
        parse_args(["--help"])
    listed = capsys.readouterr().out
    assert all(f"\n  {name} " in listed for name in ALGORITHMS)


def test_another_environment_brings_its_own_options():
    options = ["--env", "gsm8k_env:GSM8KMultiTurn-v0", "--dataset", "builtin:1", "--env-option", "max_turns=2"]
    settings = run_settings(parse_args([*options, "--eval-env-option", "split=test"]))
    assert settings["env_options"] == {"dataset": "builtin:1", "max_turns": 2}
    assert settings["eval_env_options"] == {"split": "test"}
    assert run_settings(parse_args(options))["eval_env_options"] == {}


def test_an_assignment_without_a_value_is_refused():
    with pytest.raises(ValueError, match=r"--set 'lr': expected NAME=VALUE"):
        run_settings(parse_args(["--set", "lr"]))


@pytest.mark.parametrize(
    "changes, message",
    [
        (["--set", "group_size=1"], "a group of one has no baseline"),
        (["--algorithm", "dappo"], r"Did you mean 'dapo'\?"),
        (["--set", "overlong_buffer=97"], "between 0 and max_tokens"),
        (["--set", "max_refills=-1"], ">= 0"),
        (["--algorithm", "reinforce", "--set", "dynamic_sampling=true", "--set", "group_size=1"], "no spread"),
        (["--set", "minibatch_size=100"], "a multiple of group_size that divides"),
        (["--set", "temperature=0"], "greedy"),
        (["--set", "top_p=0.9"], "whole distribution"),
        (["--set", "grop_size=4"], "Did you mean 'group_size'"),
        (["--set", "advantage=grppo"], "grpo"),
        (["--set", "kl_estimator=k4"], "kl_estimator"),
        (["--set", "aggregation=mean"], "token-mean"),
        (["--num-learners", "3"], "num_learners"),
    ],
)
def test_bad_settings_say_what_is_allowed(changes, message):
    with pytest.raises(ValueError, match=message):
        build_config(run_settings(parse_args(changes))).validate()
