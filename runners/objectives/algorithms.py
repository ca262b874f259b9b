"""Published algorithms as settings: each is a choice of advantage, surrogate, aggregation and KL.

`GRPOConfig().training(algorithm="dapo")` applies one. docs/algorithms.md is made from this file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runners.objectives.registry import Registry


@dataclass(frozen=True, slots=True, kw_only=True)
class AlgorithmSpec:
    """A published algorithm.

    Attributes:
        paper: URL.
        formula: Advantage and loss of a token; r is the reward, mean_g and std_g the group's, rho the probability
            ratio.
        expect: What it is good for, or what to look out for, in a line.
        settings: Of `GRPOConfig.training`, where the paper decides on them. Of the others, all that an algorithm could
            decide on have their defaults; see `runners.published.algorithm_settings`. Sizes, lengths, temperature,
            learning rate, epochs and max_refills are left to the user.
    """

    paper: str
    formula: str
    expect: str
    settings: Mapping[str, Any]


ALGORITHMS: Registry[AlgorithmSpec] = Registry("algorithm", AlgorithmSpec)

ALGORITHMS["grpo"] = AlgorithmSpec(
    paper="https://arxiv.org/abs/2402.03300",
    formula="A = (r - mean_g) / std_g; -min(rho A, clip(rho) A) + 0.04 KL",
    expect="The reference point. Keeps a second model for the KL; long wrong answers are punished less for each token.",
    settings={"aggregation": "sequence-mean", "kl_coeff": 0.04},
)
ALGORITHMS["dr_grpo"] = AlgorithmSpec(
    paper="https://arxiv.org/abs/2503.20783",
    formula="A = r - mean_g; -min(rho A, clip(rho) A)",
    expect="Neither std nor a completion's length weighs the gradient: no drift to long wrong answers.",
    settings={"advantage": "dr_grpo", "aggregation": "constant-length"},
)
ALGORITHMS["dapo"] = AlgorithmSpec(
    paper="https://arxiv.org/abs/2503.14476",
    formula="A = (r + overlong - mean_g) / std_g; -min(rho A, clip(rho, 0.8, 1.28) A); groups without spread replaced",
    expect="Entropy lasts longer and every group teaches, at the price of more samples for each step.",
    # 4,096 of 20,480 tokens in the paper.
    settings={"clip_param_high": 0.28, "dynamic_sampling": True, "overlong_buffer": 0.2},
)
ALGORITHMS["rloo"] = AlgorithmSpec(
    paper="https://arxiv.org/abs/2402.14740",
    formula="A = r' - mean of the group's others, r' = r - 0.05 KL; -A log p",
    expect="Unbiased and plain. No ratio: one update on each batch (minibatch_size null, num_epochs 1).",
    # The coefficient is that of trl's RLOOConfig; the paper's are for learned rewards.
    settings={
        "advantage": "rloo",
        "surrogate": "reinforce",
        "aggregation": "constant-length",
        "kl_coeff": 0.05,
        "kl_estimator": "k1",
        "kl_placement": "reward",
    },
)
ALGORITHMS["reinforce"] = AlgorithmSpec(
    paper="https://doi.org/10.1007/BF00992696",
    formula="A = r; -A log p",
    expect="No baseline: with rewards of 0 and 1 only right answers teach. High variance; group_size 1 will do.",
    settings={"advantage": "reinforce", "surrogate": "reinforce", "aggregation": "constant-length"},
)
ALGORITHMS["reinforce_batch"] = AlgorithmSpec(
    paper="https://doi.org/10.1007/BF00992696",
    formula="A = r - mean of the batch; -A log p",
    expect="Less variance than reinforce; hard problems still pull down, easy ones up. group_size 1 will do.",
    settings={"advantage": "reinforce_batch", "surrogate": "reinforce", "aggregation": "constant-length"},
)
ALGORITHMS["reinforce++"] = AlgorithmSpec(
    paper="https://arxiv.org/abs/2501.03262",
    formula="A = (r' - mean) / std over the batch, r' = r - 0.001 KL; -min(rho A, clip(rho) A)",
    expect="Many problems with one completion each (group_size 1). Here the KL is summed over the whole completion.",
    settings={"advantage": "reinforce++", "kl_coeff": 1e-3, "kl_estimator": "k1", "kl_placement": "reward"},
)
ALGORITHMS["gspo"] = AlgorithmSpec(
    paper="https://arxiv.org/abs/2507.18071",
    formula="A = (r - mean_g) / std_g; -min(s A, clip(s, 1 - 3e-4, 1 + 4e-4) A), s = exp(mean_t log rho)",
    expect="Whole sequences are clipped, and many of them; the ratio only matters with several updates on a batch.",
    settings={"surrogate": "gspo", "aggregation": "sequence-mean", "clip_param": 3e-4, "clip_param_high": 4e-4},
)
ALGORITHMS["cispo"] = AlgorithmSpec(
    paper="https://arxiv.org/abs/2506.13585",
    formula="A = (r - mean_g) / std_g; -min(rho, 5) A log p, no gradient through rho",
    expect="Every token keeps its gradient, rare ones too; for several updates on a batch.",
    # The paper gives no number; an upper end of 5 is that of ScaleRL, https://arxiv.org/abs/2510.13786.
    settings={"surrogate": "cispo", "clip_param": 1.0, "clip_param_high": 4.0},
)
ALGORITHMS["gpg"] = AlgorithmSpec(
    paper="https://arxiv.org/abs/2504.02546",
    formula="A = alpha (r - mean_g), alpha = groups / groups with spread; -A log p",
    expect="The plain policy gradient; the step keeps its size among zero-variance groups. One update on each batch.",
    settings={"advantage": "gpg", "surrogate": "reinforce"},
)
ALGORITHMS["ppo"] = AlgorithmSpec(
    paper="https://arxiv.org/abs/1707.06347",
    formula="A = GAE of r and a value head V, whitened; -min(rho A, clip(rho) A) + 0.1 (V - return)^2",
    expect="An advantage for each token, from a critic that has to learn first (`vf_lr`). group_size 1 will do.",
    # lambda_ 1, the return less the value: a critic that starts from nothing would bias a shorter estimate.
    settings={"advantage": "gae"},
)


def command_line_help() -> str:
    """Returns one line for each algorithm."""
    width = max(map(len, ALGORITHMS))
    return "\n".join(f"  {name:{width}}  {spec.formula}" for name, spec in ALGORITHMS.items())
