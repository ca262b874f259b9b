"""What an evaluation is: everything that decides its completions, for config.json and for resuming."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from agents import SamplingParams
from agents.models import resolve_model
from runners.evaluation.files import EvaluationFolder, read_samples
from runners.evaluation.samples import Sample, whole_batches

_HASHED_BYTES = 2**20
_SHOWN_CHARS = 60
# Not compared on resuming: the same problems may lie elsewhere, and how to grade is decided when scoring.
_FREE = ("dataset", "grading")


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationConfig:
    """Everything that decides the completions of an evaluation, but for the machine and the versions.

    Attributes:
        model: As given to the engine.
        model_fingerprint: See `model_fingerprint`; None where the model is no folder here.
        engine: The agent's name.
        engine_options: Its options.
        environment: A Gymnasium id.
        env_options: What `gym.make` gets, resolved: a data set's name is never "auto".
        data_fingerprint: sha256 of the split's problems; None where the environment does not tell it.
        num_problems: How many are evaluated; `evaluation_problems` says which.
        prompt: The prompt's name, or its instruction.
        prompt_template: The prompt's text with `{question}`, before any chat template.
        stop: Texts that end a completion.
        grading: Grading modes.
        n: Completions for each problem.
        temperature: As in `agents.SamplingParams`, like the next three.
        top_p: See there.
        top_k: See there.
        max_tokens: See there.
        seed: Decides the random numbers of every completion, and the examples of a few-shot prompt.
        batch_size: Problems in one call of the engine; a folder's samples are numbered by these batches.
    """

    model: str
    model_fingerprint: str | None
    engine: str
    engine_options: Mapping[str, Any]
    environment: str
    env_options: Mapping[str, Any]
    data_fingerprint: str | None
    num_problems: int
    prompt: str
    prompt_template: str
    stop: tuple[str, ...]
    grading: tuple[str, ...]
    n: int
    temperature: float
    top_p: float
    top_k: int
    max_tokens: int
    seed: int
    batch_size: int

    def __post_init__(self) -> None:
        _ = self.sampling  # refuses what cannot be sampled

    def to_json(self) -> dict[str, Any]:
        """Returns the fields as JSON values."""
        fields = asdict(self)
        return fields | {"stop": list(self.stop), "grading": list(self.grading)}

    @property
    def sampling(self) -> SamplingParams:
        """How the completions are sampled."""
        names = ("n", "temperature", "top_p", "top_k", "max_tokens", "stop")
        return SamplingParams(**{name: getattr(self, name) for name in names})

    @property
    def batches(self) -> list[range]:
        """The places of the problems in each batch."""
        starts = range(0, self.num_problems, self.batch_size)
        return [range(start, min(start + self.batch_size, self.num_problems)) for start in starts]


def model_fingerprint(name: str) -> str | None:
    """Returns a sha256 over the model's config.json and, of every weights file, the name, size, first and last MiB.

    Enough to tell a model from its next checkpoint without reading all of it; not a proof that two are equal. None
    where the name is no model that `agents.models` knows, such as one behind a third party's engine.
    """
    try:
        folder = resolve_model(name)
    except ValueError:
        return None
    digest = hashlib.sha256()
    for path in [folder / "config.json", *sorted(folder.glob("*.safetensors"))]:
        digest.update(f"{path.name} {path.stat().st_size}\n".encode())
        digest.update(_ends(path))
    return digest.hexdigest()


def finished_samples(folder: EvaluationFolder, config: EvaluationConfig) -> list[Sample]:
    """Returns what a folder already holds of this evaluation: the samples of its complete batches; none if it is new.

    Whatever follows them, such as half a batch, is removed from samples.jsonl: it is generated again.

    Raises:
        ValueError: If the folder holds another evaluation; the message names every difference.
    """
    saved = folder.read_config()
    if saved is None:
        if folder.samples_path.exists():
            raise ValueError(f"{folder.path} holds samples.jsonl without config.json: choose another --output-dir.")
        return []
    _refuse_differences(folder, _flat(saved.get("evaluation", {})), _flat(config.to_json()))
    if not folder.samples_path.exists():
        return []
    samples = read_samples(folder.samples_path)
    kept = whole_batches(samples, [len(batch) * config.n for batch in config.batches])
    if len(kept) < len(samples) or not folder.samples_path.read_bytes().endswith(b"\n"):
        folder.write_samples(sample.to_row() for sample in kept)
    return kept


def _refuse_differences(folder: EvaluationFolder, saved: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    names = [name for name in {**now, **saved} if name not in _FREE and saved.get(name) != now.get(name)]
    if names:
        pairs = ((name, _shown(saved.get(name)), _shown(now.get(name))) for name in names)
        differences = "; ".join(f"{name}: {there} there, {here} now" for name, there, here in pairs)
        raise ValueError(
            f"{folder.path} holds an evaluation with another configuration ({differences}). Give the same options to "
            "go on with it, or choose another --output-dir."
        )


def _flat(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in evaluation.items() if name != "env_options"} | evaluation.get(
        "env_options", {}
    )


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "..."


def _ends(path: Path) -> bytes:
    with path.open("rb") as file:
        first = file.read(_HASHED_BYTES)
        file.seek(max(0, path.stat().st_size - _HASHED_BYTES))
        return first + file.read()
