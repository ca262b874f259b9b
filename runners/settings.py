"""Every setting of a GRPO run: one frozen dataclass a noun."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from agents.values import Seconds, at_least_1, positive
from runners.objectives.advantages import ADVANTAGES
from runners.objectives.algorithms import ALGORITHMS
from runners.objectives.objective import ObjectiveConfig
from runners.objectives.reductions import Aggregation
from runners.run_settings import ResourceSettings, RunSettings
from runners.support.schedules import SCHEDULE_WORDS, Schedule, scheduled
from runners.support.settings import Settings, not_negative, setting, share

Dtype = Literal["float32", "bfloat16", "float16"]
InFlight = Literal["finish", "continue"]
WeightTransfer = Literal["auto", "object_store", "ipc", "collective", "adapter"]


def _known(registry: Any) -> Any:
    return lambda name: registry.lookup(name) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySettings(Settings):
    """The policy: `agents(...)`."""

    policy_model: str = setting("tiny", '"tiny", "smollm2-135m", a folder in Hugging Face\'s layout, or a hub id.')
    dtype: Dtype = setting(
        "float32",
        "Type of the learner's weights; only those of a model frozen beside adapters may be other than float32. On a "
        "GPU the passes run in bfloat16 autocast.",
    )
    trust_remote_code: bool = setting(False, "Whether the checkpoint's folder may run code.")
    num_threads: int | None = setting(
        None,
        "Torch threads of each process; None leaves torch's choice.",
        ">= 1 and <= 1024",
        lambda number: 1 <= number <= 1024,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraSettings(Settings):
    """A low-rank adapter that is trained in the model's place (LoRA), see `updating.lora`: `agents(...)`."""

    lora_rank: int | None = setting(None, "Rank r of the adapters; None trains every weight.", ">= 1", at_least_1)
    lora_alpha: float | None = setting(None, "The adapters' part counts alpha / r times; None is 2 r.", "> 0", positive)
    lora_targets: str = setting(
        "all-linear", 'Layers with an adapter: "all-linear", or names such as "q_proj,v_proj".', "not empty", bool
    )

    @property
    def scaling_alpha(self) -> float:
        """`lora_alpha`, or what stands for None."""
        assert self.lora_rank is not None
        return 2.0 * self.lora_rank if self.lora_alpha is None else self.lora_alpha


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings(Settings):
    """The engine, and how weights reach it: `agents(...)`."""

    engine: str = setting("transformers", "A name that `agents.make` knows.")
    engine_options: dict[str, Any] = setting(
        {},
        "Passed to the engine untouched.",
        'with texts for names, but not "model": that is policy_model',
        lambda options: all(isinstance(name, str) and name != "model" for name in options),
    )
    gpus_per_engine: int | None = setting(
        None,
        "None leaves an engine the GPUs that Ray reserved for its env runner (`num_gpus_per_env_runner`). A number has "
        "engines share the learners' GPUs: Ray reserves none for the env runners, and each takes that many of its "
        "machine's.",
        ">= 1",
        at_least_1,
    )
    weight_transfer: WeightTransfer = setting("auto", "How the weights travel; see `weights.paths`.")
    sleep_during_update: bool = setting(
        False, "Whether the engines free weights and KV cache while a learner on the same GPU updates."
    )
    sync_timeout_s: Seconds = setting(120.0, "Bound on handing the weights to the engines, seconds.")
    sync_check_bound: float | None = setting(
        0.05,
        "After each sync engine and learner may differ by this much on the same tokens, mean nats a token. The default "
        "leaves room for a bfloat16 engine; None does not compare. See `weights.check`.",
        ">= 0",
        not_negative,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingSettings(Settings):
    """What is sampled for a step: `training(...)`."""

    num_prompts: int = setting(32, "N, problems a step.", ">= 1", at_least_1)
    group_size: int = setting(8, "G, completions a problem; most advantages need two or more.", ">= 1", at_least_1)
    temperature: float = setting(
        1.0,
        "Of the training samples, and of the log-probs they are trained with; supervised fine-tuning samples in "
        "evaluation alone, and trains at 1.",
        "> 0, from 0.001 to 1000 (the completions of a greedy group are all the same)",
        lambda value: 0.001 <= value <= 1000,
    )
    top_p: float = setting(
        1.0,
        "Nucleus of the training samples.",
        "that is 1.0: the learner scores the whole distribution",
        lambda value: value == 1.0,
    )
    max_prompt_tokens: int = setting(512, "Problems with longer prompts are replaced.", ">= 1", at_least_1)
    max_tokens: int = setting(
        256,
        "Most tokens of a completion, the end token included; problems with longer solutions are replaced.",
        ">= 1",
        at_least_1,
    )
    max_episode_tokens: int | None = setting(
        None,
        "In an environment of several turns no turn begins once prompt, completions and the user's messages have this "
        "many tokens; the rewards so far stand. None: while the context has room.",
        ">= 1",
        at_least_1,
    )
    dynamic_sampling: bool = setting(
        False, "Replace zero-variance groups by new problems; see `sampling.refills`.", published=True
    )
    max_refills: int = setting(
        4, "Rounds of replacement in a step, after which such groups stay.", ">= 0", not_negative
    )
    max_staleness: int = setting(
        0,
        "Most updates between a group's beginning and the one that takes it. 0 samples and updates in turns; from 1 on "
        "remote env runners sample while the learners update, see `asynchrony`.",
        ">= 0",
        not_negative,
    )
    in_flight: InFlight = setting(
        "finish",
        "What becomes of completions under way when new weights come, with max_staleness: they are finished under the "
        "old ones first, or go on under the new ones.",
    )
    env_threads: int = setting(
        0,
        "Steps of environments at once on each env runner, for slow ones: each in a thread. 0 makes one after another.",
        ">= 0",
        not_negative,
    )
    env_step_timeout_s: float | None = setting(
        None,
        "Bound on a step of an environment, seconds; needs env_threads. A reward that is later is missing, and its "
        "environment is made anew. None has no bound.",
        "> 0",
        positive,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AdvantageSettings(Settings):
    """From rewards to advantages: `training(...)`."""

    algorithm: str | None = setting(
        None,
        "A name in docs/algorithms.md: sets everything that the paper decides on, except what the same call gives.",
        "a published algorithm",
        _known(ALGORITHMS),
    )
    advantage: str = setting(
        "grpo",
        'A name in `objectives.advantages`, or "package.module:function"; "gae" adds the critic below.',
        "a known estimator",
        _known(ADVANTAGES),
        published=True,
    )
    overlong_buffer: float = setting(
        0,
        "The last tokens before max_tokens, in which a completion's reward falls by up to overlong_penalty (in several "
        "turns each turn's); below 1 a share of max_tokens; 0 is off. See `objectives.reward_shaping`.",
        ">= 0",
        not_negative,
        published=True,
    )
    overlong_penalty: float = setting(1.0, "See overlong_buffer.", ">= 0", not_negative, published=True)

    @property
    def use_critic(self) -> bool:
        """Whether the policy has a value head, and the Updater trains it."""
        return self.advantage == "gae"

    def overlong_buffer_tokens(self, max_tokens: int) -> int:
        """Returns `overlong_buffer` in tokens; 0 is off."""
        buffer = self.overlong_buffer * max_tokens if self.overlong_buffer < 1 else self.overlong_buffer
        return max(1, round(buffer)) if buffer else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CriticSettings(Settings):
    """PPO's critic, a value head on the policy's own transformer, with advantage="gae": `training(...)`."""

    gamma: float = setting(1.0, "Discount a token; see `objectives.gae`.", "in [0, 1]", share, published=True)
    lambda_: float = setting(
        1.0, "Weight of the longer estimates; 1 is the return less the value.", "in [0, 1]", share, published=True
    )
    whiten_advantages: bool = setting(
        True, "Bring the advantages of a batch's tokens to mean 0 and deviation 1.", published=True
    )
    vf_loss_coeff: float = setting(
        0.1, "Weight of the value loss; it reaches the transformer too.", ">= 0", not_negative, published=True
    )
    vf_clip_param: float | None = setting(
        None, "Largest squared error of a value that counts; None is no bound.", "> 0", positive, published=True
    )
    vf_lr: float = setting(
        1e-4, "Learning rate of the value head, which starts from zero; small models bear more.", ">= 0", not_negative
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateSettings(Settings):
    """The optimizer steps on a batch, and their memory: `training(...)`."""

    lr: float | Schedule = setting(
        1e-6, "AdamW's learning rate; see `support.schedules`.", f">= 0, {SCHEDULE_WORDS}", scheduled(not_negative)
    )
    update_timeout_s: Seconds = setting(
        3600.0, "Bound on a call to remote learners, seconds: one that hangs ends the run. The driver's own has none."
    )
    grad_clip: float | None = setting(
        1.0, "Largest norm of the gradient of the policy, and of the value head; None is no bound.", "> 0", positive
    )
    num_epochs: int = setting(1, "Passes over the batch.", ">= 1 and <= 1000", lambda number: 1 <= number <= 1000)
    minibatch_size: int | None = setting(
        None, "Sequences of an optimizer step, over all learners; None takes all N * G.", ">= 1", at_least_1
    )
    aggregation: Aggregation = setting(
        "token-mean", "How token losses become one number; see `objectives.reductions`.", published=True
    )
    mask_truncated: bool = setting(
        False,
        "Leave completions cut by max_tokens out of the loss. Otherwise they count, with the environment's reward.",
        published=True,
    )
    adam_betas: tuple[float, float] = setting(
        (0.9, 0.95), "Of AdamW.", "in [0, 1)", lambda betas: all(0 <= beta < 1 for beta in betas)
    )
    adam_epsilon: float = setting(1e-8, "Of AdamW.", ">= 0", not_negative)
    weight_decay: float = setting(0.0, "Of AdamW.", ">= 0", not_negative)
    micro_batch_tokens: int = setting(16_384, "Most padded tokens in one forward pass.", ">= 1", at_least_1)
    max_logits: int = setting(2**25, "Most logits in memory at once, in elements.", ">= 1", at_least_1)
    share_prompts: bool = setting(
        True,
        "Score a group's prompt once for all its completions; see `objectives.packing`. A model whose log-probs that "
        "changes (sliding windows, recurrence) is found by comparing, and has False; see `updating.scorer_check`.",
    )
    fully_shard: bool = setting(
        False,
        "Spread parameters, gradients and optimizer states over the learners; see `updating.sharding`. Otherwise every "
        "learner has all of them.",
    )
    gradient_checkpointing: bool = setting(
        False, "Run each block of the transformer twice instead of keeping what its backward pass needs."
    )


RUN_NOUNS: tuple[type, ...] = (RunSettings, ResourceSettings)
AGENT_NOUNS: tuple[type, ...] = (PolicySettings, LoraSettings, EngineSettings)
TRAINING_NOUNS: tuple[type, ...] = (
    SamplingSettings,
    AdvantageSettings,
    ObjectiveConfig,
    CriticSettings,
    UpdateSettings,
)

# Of the training's, those that mean something in supervised fine-tuning.
SUPERVISED_SETTINGS = frozenset({
    "num_prompts", "temperature", "max_prompt_tokens", "max_tokens", "max_episode_tokens",
    "env_threads", "env_step_timeout_s",
    "lr", "update_timeout_s", "grad_clip", "adam_betas", "adam_epsilon", "weight_decay",
    "micro_batch_tokens", "max_logits", "share_prompts", "fully_shard", "gradient_checkpointing",
})  # fmt: skip
