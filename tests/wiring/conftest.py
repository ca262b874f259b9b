"""Runs of GRPO with a scripted agent and a very small model, and what is needed to follow them step by step."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from tokenizers.processors import TemplateProcessing
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from agents.models import resolve_model
from agents.registry import ENTRY_POINT_GROUP
from agents.text import load_tokenizer
from runners.rllib.grpo import GRPO, GRPOConfig
from tests.wiring.reference import Plan, Reference, distance, possible_updates
from tests.wiring.scripted import AGENTS, ENV, Episode, RecordingAgent, episodes_of


@pytest.fixture(scope="package", autouse=True)
def installed_agents(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Has the agents of these tests known as those of an installed package are: remote env runners know them too."""
    folder = tmp_path_factory.mktemp("site-packages")
    package = folder / "wiring_agents-0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: wiring-agents\nVersion: 0\n")
    lines = [f"{name} = {target}" for name, target in AGENTS.items()]
    (package / "entry_points.txt").write_text("\n".join([f"[{ENTRY_POINT_GROUP}]", *lines]))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        root = Path(__file__).parents[2]
        patch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{root}", prepend=os.pathsep)  # of Ray's processes
        yield


@pytest.fixture(scope="package")
def ray_of_this_package(installed_agents: None) -> Iterator[Callable[[], None]]:
    """Starts Ray where it is not running."""

    def start_ray() -> None:
        torch.set_num_threads(1)
        if not ray.is_initialized():
            ray.init(num_cpus=8, include_dashboard=False, logging_level="ERROR", log_to_driver=False)

    yield start_ray
    ray.shutdown()


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of two narrow layers with random weights, and the bundled tokenizer with a BOS, which has the id 0.

    Id 0 is what padding has too, and the tokenizer puts the BOS before any text it encodes, as Llama's does.
    """
    folder = tmp_path_factory.mktemp("model")
    tokenizer = load_tokenizer(resolve_model("tiny"))
    bos = "<|pad|>"
    assert tokenizer.convert_tokens_to_ids(bos) == 0
    tokenizer.bos_token = bos
    tokenizer.chat_template = "{{ bos_token }}" + tokenizer.chat_template
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single=f"{bos} $A", special_tokens=[(bos, 0)])
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=256,
        initializer_range=0.3,  # far from uniform distributions
        tie_word_embeddings=False,
        bos_token_id=0,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=0,
        dtype="float32",
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    assert load_tokenizer(folder)("x")["input_ids"][0] == 0
    return folder


# Adam's epsilon is so large that it does not scale away what is wrong with the size of a gradient, and a step so long
# that the ratios of the next one leave their clip range.
TRAINING = {
    "num_prompts": 4,
    "group_size": 4,
    "max_tokens": 32,
    "lr": 0.01,
    "adam_epsilon": 0.3,
    "weight_decay": 0.1,
    "grad_clip": None,
}
CLOSE = 1e-6  # of a weight, in float32
MOVED = 100 * CLOSE  # what shows: a step moves some weight by far more, and every setting under test by this much


@dataclass(kw_only=True)
class Step:
    """What one `algo.train()` took and left."""

    result: Mapping[str, Any]
    episodes: list[Episode]
    weights: dict[str, torch.Tensor]

    @property
    def learner(self) -> Mapping[str, float]:
        return self.result["learners"]["default_policy"]

    @property
    def rollouts(self) -> Mapping[str, float]:
        return self.result["rollouts"]


@dataclass(kw_only=True)
class Run:
    """An algorithm whose agent stands in this process, and the reference that starts from the same weights."""

    algo: GRPO
    agent: RecordingAgent
    training: Mapping[str, Any]
    folder: Path
    reference: Reference = field(init=False)

    def __post_init__(self) -> None:
        self.algo.save_policy(self.folder / "before")
        self.reference = Reference(self.folder / "before", self.training)

    def step(self) -> Step:
        """Trains for one step."""
        first = len(self.agent.calls)
        result = self.algo.train()
        self.algo.save_policy(self.folder / "after")
        model = AutoModelForCausalLM.from_pretrained(self.folder / "after", dtype=torch.float32)
        return Step(
            result=result,
            episodes=episodes_of(self.agent, self.agent.calls[first:]),
            weights={name: parameter.detach() for name, parameter in model.named_parameters()},
        )

    def follow(self, step: Step, **epochs: int) -> Plan:
        """Takes the reference to where the step led, by the only deal of groups into minibatches that leads there.

        The step's weights and metrics must be the reference's. `epochs` as in `possible_updates`.
        """
        assert distance(self.reference.weights(), step.weights) > MOVED
        ends = list(possible_updates(self.reference, step.episodes, **epochs))
        apart = [distance(reference.weights(), step.weights) for _, reference, _ in ends]
        assert sum(number < CLOSE for number in apart) == 1, f"nearest of {len(ends)} possible: {sorted(apart)[:2]}"
        plan, self.reference, metrics = ends[apart.index(min(apart))]
        for name in metrics.keys() & step.learner.keys():
            assert step.learner[name] == pytest.approx(metrics[name], abs=1e-5, rel=1e-5), name
        # The next step is compared from where it began: differences of rounding do not add up.
        self.reference.model.load_state_dict(step.weights)
        return plan

    def matters(self, name: str, steps: Sequence[Step], **epochs: int) -> bool:
        """Whether the same steps lead elsewhere with a setting left at its default; if not, nothing is proved."""
        other = Reference(self.folder / "before", {key: v for key, v in self.training.items() if key != name})
        for step in steps:
            [(_, other, _)] = possible_updates(other, step.episodes, **epochs)
        return distance(other.weights(), steps[-1].weights) > MOVED


def make_config(
    model_folder: Path,
    training: Mapping[str, Any],
    *,
    script: Mapping[str, Sequence[str]],
    noise: float = 0.5,
    lag: int = 0,
    env: Mapping[str, Any] | None = None,
    eval_env: Mapping[str, Any] | None = None,
) -> GRPOConfig:
    return (
        GRPOConfig()
        .environment(ENV, env_config=dict(env or {}))
        .agents(
            policy_model=str(model_folder),
            engine="recording",
            engine_options={"script": script, "noise": noise, "lag": lag},
            num_threads=1,
            sync_check_bound=None,
        )
        .training(**training)
        .evaluation(evaluation_duration=5, evaluation_config={"env_config": dict(eval_env or {})})
        .debugging(seed=0, log_level="ERROR")
    )


@pytest.fixture
def build(
    ray_of_this_package: Callable[[], None], built: Callable[[GRPOConfig], GRPO]
) -> Iterator[Callable[[GRPOConfig], GRPO]]:
    """As `built`, with Ray started where it is not running."""
    ray_of_this_package()
    yield built
    RecordingAgent.made.clear()


@pytest.fixture
def start(build: Callable[[GRPOConfig], GRPO], model_folder: Path, tmp_path: Path) -> Callable[..., Run]:
    """Starts a run: training settings over `TRAINING`, and the options of `make_config`."""

    def start_one(training: Mapping[str, Any] | None = None, *, num_learners: int = 0, **options: Any) -> Run:
        training = {**TRAINING, **(training or {})}
        config = make_config(model_folder, training, **options).learners(num_learners=num_learners)
        algo = build(config)
        return Run(algo=algo, agent=RecordingAgent.made[-1], training=training, folder=tmp_path)

    return start_one
