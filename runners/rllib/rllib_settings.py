"""Which of RLlib's own settings count here; any other that is not left at its default is refused by name."""

from __future__ import annotations

import dataclasses
from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

from agents.values import fits
from runners.rllib.private import DEPRECATED_VALUE
from runners.run_settings import RunSettings
from runners.settings import AGENT_NOUNS, TRAINING_NOUNS, SamplingSettings
from runners.support.settings import fields_of

# What counts beside `callbacks(...)`. The last line is RLlib's own book-keeping.
_READ = """
env env_config disable_env_checking
evaluation_interval evaluation_duration evaluation_config
env_runner_cls num_env_runners num_cpus_per_env_runner num_gpus_per_env_runner custom_resources_per_env_runner
sample_timeout_s validate_env_runners_after_construction create_env_on_local_worker
num_learners num_cpus_per_learner num_gpus_per_learner custom_resources_per_learner local_gpu_idx
grad_clip_by learner_class learner_config_dict
placement_strategy num_cpus_for_main_process custom_resources_for_main_process
extra_python_environs_for_driver extra_python_environs_for_worker
min_time_s_per_iteration min_train_timesteps_per_iteration min_sample_timesteps_per_iteration stats_cls_lookup
log_level log_sys_usage seed
restart_failed_env_runners ignore_env_runner_failures max_num_env_runner_restarts delay_between_env_runner_restarts_s
num_consecutive_env_runner_failures_tolerance env_runner_health_probe_timeout_s env_runner_restore_timeout_s
validate_config use_msgpack_checkpoints
algo_class in_evaluation is_atari is_frozen policies
"""
_INSTEAD = {
    "train_batch_size": "a step trains on num_prompts * group_size completions",
    "train_batch_size_per_learner": "a step trains on num_prompts * group_size completions, spread over the learners",
    "shuffle_batch_per_epoch": "every epoch deals the groups anew",
    "rollout_fragment_length": "whole episodes are sampled, num_prompts * group_size a step",
    "batch_mode": "whole episodes are sampled, num_prompts * group_size a step",
    "num_envs_per_env_runner": "num_prompts * group_size episodes are played at once, spread over the env runners",
    "explore": "training samples at `temperature`, and evaluation is greedy too",
    "create_local_env_runner": "the local env runner is asked about the environments",
    "model_config": "the model is chosen with agents(policy_model=...)",
    "rl_module_spec": "the module is made from agents(policy_model=...), a folder or a hub id",
    "model": "the model is chosen with agents(policy_model=...)",
    "optimizer": "AdamW is set with adam_betas, adam_epsilon and weight_decay",
    "torch_lr_scheduler_classes": "a schedule is given as lr=[[0, value], [timestep, value], ...]",
    "num_gpus": "GPUs are given with num_gpus_per_learner and num_gpus_per_env_runner",
    "enable_rl_module_and_learner": "there is RLlib's new API stack alone",
    "enable_env_runner_and_connector_v2": "there is RLlib's new API stack alone",
    "framework_str": "the learner is torch's",
    "evaluation_num_env_runners": "evaluation samples on the training env runners, num_env_runners of them",
    "evaluation_parallel_to_training": "evaluation uses the training engines, between two steps",
    "evaluation_duration_unit": "evaluation_duration counts problems, an episode each",
    "evaluation_sample_timeout_s": "sample_timeout_s bounds evaluation too",
    "custom_evaluation_function": "callbacks(on_evaluate_end=...) changes the results",
    "policy_mapping_fn": "there is one policy",
    "policies_to_train": "there is one policy",
    "metrics_num_episodes_for_smoothing": "a step's metrics are those of its own episodes",
    "restart_failed_sub_environments": "an environment that fails ends the run, with its error",
}
# What `evaluation_config` may change, beside env_config.
_OF_EVALUATION = ("temperature", "max_tokens", "max_prompt_tokens", "max_episode_tokens")


def check_rllib_settings(config: Any) -> None:
    """Refuses what RLlib's users may set and nothing here reads: they would get another result than they asked for.

    Raises:
        ValueError: For a setting that is neither read nor left at its default; the message says what to set instead.
    """
    defaults = vars(type(config)())
    own = fields_of((*AGENT_NOUNS, *TRAINING_NOUNS))
    for attribute in (name for name in vars(AlgorithmConfig()) if name not in own):
        name = attribute.removeprefix("_")
        value, default = getattr(config, attribute), defaults[attribute]
        read = name in _READ.split() or (name.startswith("callbacks_") and "offline" not in name)
        if not read and default != DEPRECATED_VALUE and value != default:
            why = _INSTEAD.get(name, "nothing here reads it")
            raise ValueError(f"{name}={value!r}, but it must be left at its default, {default!r}: {why}.")
    if config.is_multi_agent:
        raise ValueError(f"policies={config.policies!r}, but there is one policy, that of agents(policy_model=...).")
    _check_evaluation(config)


def _check_evaluation(config: Any) -> None:
    if not fits(config.evaluation_duration, int) or config.evaluation_duration < 1:
        raise ValueError(f"evaluation_duration={config.evaluation_duration!r}, but it must be an int >= 1: problems.")
    RunSettings(eval_sampled_problems=config.eval_sampled_problems)
    changes = config.evaluation_config or {}
    if not isinstance(changes, dict):
        raise ValueError(f"evaluation_config={changes!r}, but it must be a dictionary of what differs from training.")
    # RLlib writes "env" into it at build_algo(env=...).
    sampling = {n: v for n, v in changes.items() if n != "env_config" and (n, v) != ("env", config.env)}
    for name, value in sampling.items():
        if name not in _OF_EVALUATION:
            read = ", ".join(("env_config", *_OF_EVALUATION))
            raise ValueError(f"evaluation_config: {name}={value!r}, but evaluation reads {read} alone.")
    try:
        dataclasses.replace(config.noun(SamplingSettings), **sampling)
    except ValueError as error:
        raise ValueError(f"evaluation_config: {error}") from error
