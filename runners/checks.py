"""What is looked at before a run makes or starts anything: settings, environment, model, engine."""

from __future__ import annotations

import dataclasses
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from transformers import AutoConfig

from agents.models import resolve_model
from agents.registry import find
from agents.text import encode_chat, end_token_ids, load_tokenizer
from runners.evaluation.config import model_fingerprint
from runners.run_folder.read_back import broken_weights
from runners.run_options import build_config
from runners.run_settings import ResourceSettings, RunSettings
from runners.sampling.demonstrations import no_solution, solution_of
from runners.sampling.environments import make_environment, reset_alike
from runners.sampling.rollout import GroupReset
from runners.settings import AGENT_NOUNS, TRAINING_NOUNS, SamplingSettings
from runners.support.settings import fields_of, from_mapping
from runners.tracking.trackers import find_trackers
from runners.training.trainers import trainer_of

# What numpy takes as a seed.
_LARGEST_SEED = 2**32 - 1
# Each sequence of a step has an environment of its own.
_MOST_SEQUENCES = 2**20
_ON_TRAINING_PROBLEMS = (
    "evaluation is on the training problems: give others with --eval-env-option (split=test, dataset=...)."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A run that may start.

    Attributes:
        settings: Everything it is made of, defaults too, with what depends on the machine resolved; `fingerprints` of
            training problems, evaluation problems and model with them, None where there is no telling.
        moving_options: Options of the environment that only say where the problems lie on this machine.
        held_out: Whether evaluation is on other problems than training.
        notes: What the user should know.
    """

    settings: dict[str, Any]
    moving_options: frozenset[str]
    held_out: bool
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Problems:
    """What an environment says of its problems."""

    resolved: dict[str, Any]
    moving_options: frozenset[str]
    fingerprint: str | None
    endless: bool
    has_solution: bool


def check_run(settings: dict[str, Any]) -> Checked:
    """Checks a run's settings, and loads what they name but for the model's weights.

    Raises:
        ValueError: For anything that would not do; the message names it.
        ImportError: If a package is missing.
    """
    config = build_config(settings)
    _check_sizes(config)
    config.check()
    if settings["run"].get("dump_steps") and not trainer_of(settings).dumps:
        raise ValueError(
            f"dump_steps={settings['run']['dump_steps']!r}, but it must be left out: {trainer_of(settings).script} "
            "samples nothing that could be replayed."
        )
    find_trackers(from_mapping(RunSettings, settings["run"]).report_to)
    find(config.engine, model=config.policy_model, **config.engine_options)
    train = _problems(settings["environment"], settings["env_options"])
    eval_options = {**train.resolved, **settings["eval_env_options"]}
    if config.needs_solutions and not train.has_solution:
        raise no_solution(settings["environment"])
    evaluation = _problems(settings["environment"], eval_options)
    held_out = _held_out(train, evaluation)
    _check_model(config.policy_model, config.trust_remote_code)
    return Checked(
        settings={
            **settings,
            "env_options": train.resolved,
            "eval_env_options": {name: evaluation.resolved[name] for name in settings["eval_env_options"]},
            "run": dataclasses.asdict(from_mapping(RunSettings, settings["run"])),
            "resources": dataclasses.asdict(from_mapping(ResourceSettings, settings["resources"])),
            "agents": _values(config, fields_of(AGENT_NOUNS)),
            "training": {**settings["training"], **_values(config, _in_order(config.training_settings))},
            "fingerprints": {
                "train": train.fingerprint,
                "eval": evaluation.fingerprint,
                "model": model_fingerprint(config.policy_model),
            },
        },
        moving_options=train.moving_options,
        held_out=held_out,
        notes=() if held_out else (_ON_TRAINING_PROBLEMS,),
    )


def _check_sizes(config: Any) -> None:
    """Refuses what would take for ever to fail.

    Raises:
        ValueError: For too many sequences at once, more sampled problems than problems, or too large a seed.
    """
    sampling = config.noun(SamplingSettings)
    step = f"num_prompts={sampling.num_prompts} with group_size={sampling.group_size}"
    for words, sequences in (
        (step, sampling.num_prompts * sampling.group_size),
        (f"eval_problems={config.evaluation_duration}", config.evaluation_duration),
    ):
        if sequences > _MOST_SEQUENCES:
            raise ValueError(
                f"{words} makes {sequences:,} sequences at once, but at most {_MOST_SEQUENCES:,} are allowed: each "
                "takes an environment of its own."
            )
    if (config.eval_sampled_problems or 0) > config.evaluation_duration:
        raise ValueError(
            f"eval_sampled_problems={config.eval_sampled_problems}, but it must be at most "
            f"eval_problems={config.evaluation_duration}: they are some of these."
        )
    if config.seed > _LARGEST_SEED:
        raise ValueError(f"seed={config.seed}, but it must be at most {_LARGEST_SEED}.")


def _in_order(names: Container[str]) -> list[str]:
    return [name for name in fields_of(TRAINING_NOUNS) if name in names]


def _values(config: Any, names: Iterable[str]) -> dict[str, Any]:
    """Returns settings as YAML has them: lists for tuples."""
    values = {name: getattr(config, name) for name in names}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def _problems(env_id: str, options: Mapping[str, Any]) -> _Problems:
    """Makes an environment and asks it.

    Raises:
        ValueError: If there is no such environment, it does not take these options, or its observation is no text.
    """
    env = make_environment(env_id, options)
    reset_alike([env], GroupReset(group_id=0, seed=0))

    def ask(name: str) -> Any:
        return env.get_wrapper_attr(name) if env.has_wrapper_attr(name) else None

    resolved = ask("resolved_options") or {}
    found = _Problems(
        resolved={**options, **resolved},
        moving_options=frozenset(resolved),
        fingerprint=getattr(ask("problems"), "fingerprint", None),
        endless=ask("num_problems") is None,
        has_solution=solution_of(env) is not None,
    )
    env.close()
    return found


def _held_out(train: _Problems, evaluation: _Problems) -> bool:
    if train.fingerprint is not None:
        return train.fingerprint != evaluation.fingerprint
    # Of an endless environment, evaluation draws with seeds that training never has.
    return train.endless or train.resolved != evaluation.resolved


def _check_model(model: str, trust_remote_code: bool) -> None:
    """Looks at a model's files.

    Raises:
        ValueError: If it cannot be prompted, or a file of weights is missing or cut short.
    """
    folder = resolve_model(model)
    try:
        AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
    except Exception as error:  # the library's reader raises many kinds
        first = str(error).strip().splitlines()[0]
        raise ValueError(f"The model {model!r} has a config.json that transformers cannot use: {first}") from error
    if not any(folder.glob("pytorch_model*.bin")) and (broken := broken_weights(folder)):
        raise ValueError(f"The model {model!r} is not whole: {', '.join(broken)} missing or cut short in {folder}.")
    try:
        tokenizer = load_tokenizer(folder, trust_remote_code=trust_remote_code)
    except Exception as error:  # the library's readers raise many kinds, bare Exception among them
        first = str(error).strip().splitlines()[0]
        raise ValueError(f"The model {model!r} has no tokenizer that transformers can load: {first}") from error
    try:
        encode_chat(tokenizer, "2 + 2?")
        end_token_ids(folder, tokenizer)
    except Exception as error:  # of the template's language, raised by the template, or of a reader
        first = str(error).strip().splitlines()[0]
        raise ValueError(
            f"The model {model!r} has a chat template or a generation_config.json that cannot be used: {first}"
        ) from error
