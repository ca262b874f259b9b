"""What a run, or a model, is asked by: its folder, and the form of its prompts and answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gsm8k_env.prompts import DEFAULT_INSTRUCTION
from runners.run_folder.reading import read_run_config

_GSM8K = "gsm8k_env:"
_DEFAULT_TOKENS = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A model and how it is asked.

    Attributes:
        model: As `agents.make` takes it.
        instruction: What follows the question, as of GSM8K-v0.
        grading: By which form its answer is read, as of GSM8K-v0.
        max_tokens: Most tokens of a completion.
    """

    model: str
    instruction: str = DEFAULT_INSTRUCTION
    grading: str = "flexible"
    max_tokens: int = _DEFAULT_TOKENS


def find_policy(name: str) -> Policy:
    """Returns the policy of a run's folder, the best by evaluation or else the last; or a model by its name.

    A run that was trained on another environment than GSM8K's is asked by the question alone.

    Raises:
        ValueError: If the run has written no policy yet, or its config.yaml cannot be read.
    """
    run = Path(name).expanduser()
    if not (run / "config.yaml").is_file():
        return Policy(model=name)
    # Either is there from the first evaluation or the end on, a checkpoint's from its step on.
    folders = [run / "best", run / "policy", *sorted(run.glob("checkpoints/step_*/policy"), reverse=True)]
    found = next((folder for folder in folders if (folder / "config.json").is_file()), None)
    if found is None:
        raise ValueError(f"{run} has no policy yet, neither in best/ nor in policy/: wait for its first checkpoint.")
    config = read_run_config(run)
    options = config["env_options"] if config["environment"].startswith(_GSM8K) else {"instruction": "none"}
    return Policy(
        model=str(found),
        instruction=options.get("instruction", DEFAULT_INSTRUCTION),
        grading=options.get("grading", "flexible"),
        max_tokens=config["training"].get("max_tokens", _DEFAULT_TOKENS),
    )
