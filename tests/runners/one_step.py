"""One step of GRPO from Sampler, Updater and WeightLink alone, in a process where `import ray` raises.

python tests/runners/one_step.py FOLDER        writes FOLDER/model.safetensors
"""

import sys

if __name__ == "__main__":
    sys.modules["ray"] = None  # type: ignore[assignment]

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

import agents
from runners.objectives.advantages import estimate_advantages
from runners.objectives.objective import ObjectiveConfig
from runners.sampling.environments import Environments
from runners.sampling.problems import ProblemSampler
from runners.sampling.rollout import SampleRequest
from runners.sampling.sampler import Sampler
from runners.settings import CriticSettings, EngineSettings, PolicySettings, UpdateSettings
from runners.updating.batch import BatchPlan, build_train_batch
from runners.updating.model import make_optimizers, make_scorer
from runners.updating.updater import Updater
from runners.weights.link import WeightLink
from runners.weights.receiver import WeightReceiver
from runners.weights.sender import WeightSender

SEED, NUM_PROMPTS, GROUP_SIZE, MAX_TOKENS, LR = 3, 4, 4, 24, 1e-4


class Here:
    """A noun of this process, asked as those of other processes are."""

    def __init__(self, noun: Any) -> None:
        self.noun = noun

    def ids(self) -> list[int]:
        return [0]

    def call(self, calls: Mapping[int, Callable[[Any], Any]]) -> dict[int, Any]:
        return {number: call(self.noun) for number, call in calls.items()}

    def ask(self, call: Callable[[Any], Any]) -> Any:
        return call(self.noun)

    def tell(self, call: Callable[[Any], Any]) -> None:
        call(self.noun)


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    options = {"dataset": "builtin:1-2"}
    environments = Environments("gsm8k_env:GSM8K-v0", {"train": options, "eval": options})
    agent = agents.make("transformers", model="tiny")
    update = UpdateSettings(lr=LR)
    scorer = make_scorer(PolicySettings(), update, temperature=1.0, value_head=False)
    optimizers = [optimizer for optimizer, _ in make_optimizers(scorer, update, CriticSettings()).values()]
    updater = Updater(scorer, optimizers, update, ObjectiveConfig())
    link = WeightLink(EngineSettings(), Here(WeightSender(updater)), Here(WeightReceiver(agent)), restore=lambda: None)
    link.deliver(updater.policy_version)

    problems = ProblemSampler(environments.num_problems("train"), SEED).draw(NUM_PROMPTS)
    sampling = agents.SamplingParams(n=GROUP_SIZE, max_tokens=MAX_TOKENS)
    request = SampleRequest(resets=problems, sampling=sampling, seed=SEED, max_prompt_tokens=512)
    rollouts = Sampler(environments, agent).sample(request).rollouts
    rewards, groups = np.array([r.reward for r in rollouts]), np.array([r.group_id for r in rollouts])
    plan = BatchPlan(
        minibatch_size=None,
        num_epochs=1,
        aggregation="token-mean",
        max_tokens=MAX_TOKENS,
        mask_truncated=False,
        num_learners=1,
    )
    batch = build_train_batch(rollouts, estimate_advantages("grpo", rewards, groups), plan, np.random.default_rng(0))
    updater.update(batch)
    link.deliver(updater.policy_version)
    assert agent.policy_version == updater.policy_version == 1
    save_file({name: tensor.clone() for name, tensor in updater.exported_weights()}, folder / "model.safetensors")
    assert not [name for name in sys.modules if name.partition(".")[0] == "ray" and sys.modules[name]]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
