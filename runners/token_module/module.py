"""A causal language model as actor and critic of RLlib's algorithms for discrete actions."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.utils import make_target_network
from ray.rllib.core.rl_module.apis import (
    TARGET_NETWORK_ACTION_DIST_INPUTS,
    InferenceOnlyAPI,
    TargetNetworkAPI,
    ValueFunctionAPI,
)
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule
from transformers import PreTrainedModel

from agents.models import resolve_model
from agents.text import load_tokenizer
from agents.transformers_agent.grouped_attention import use_grouped_attention
from agents.transformers_agent.loading import load_model
from runners.settings import PolicySettings
from runners.support.settings import from_mapping
from runners.token_module.actions import actions_of
from runners.token_module.language_model import check_model, last_states
from runners.token_module.prefix_cache import PrefixCache
from runners.token_module.settings import ModuleSettings
from runners.token_module.spaces import check_spaces
from runners.updating.policy_folder import write_policy

# The logit of an action that is not allowed: its probability is exactly 0, and products with it stay finite.
MASKED = -1e9
# RLlib puts settings of its own models into every model_config.
_RLLIBS = {field.name for field in dataclasses.fields(DefaultModelConfig)}


class CausalLMModule(TorchRLModule, ValueFunctionAPI, TargetNetworkAPI, InferenceOnlyAPI):
    """A language model for RLlib's PPO, APPO and IMPALA on `GSM8KTokens-v0`, where an action is one token.

    ```python
    from ray.rllib.algorithms.ppo import PPOConfig
    from ray.rllib.core.rl_module.rl_module import RLModuleSpec

    from agents.models import resolve_model
    from runners.token_module.module import CausalLMModule

    folder = str(resolve_model("tiny"))  # or any model's folder
    env_config = {"dataset": "builtin:1", "tokenizer": folder, "observation": "dict"}
    env_config |= {"max_prompt_tokens": 256, "max_tokens": 64}
    algo = (
        PPOConfig()
        .environment("gsm8k_env:GSM8KTokens-v0", env_config=env_config)
        .env_runners(num_envs_per_env_runner=32)
        .rl_module(rl_module_spec=RLModuleSpec(module_class=CausalLMModule, model_config={"model": folder}))
        .training(lr=1e-4, minibatch_size=1024, num_epochs=2, shuffle_batch_per_epoch=False, gamma=1.0, lambda_=1.0)
        .build_algo()
    )
    algo.train()
    algo.get_module().write_policy("policy")  # a Hugging Face folder
    ```

    Actor: the model's next-token logits behind the last filled place, of the environment's actions; special tokens but
    the end have probability 0, as in the environment's `action_masks`. Critic: a linear layer, zero at the start, on
    the last hidden state of the same transformer. Dropout is off.

    Sampling keeps keys and values of the sequences that it read last (`prefix_cache.PrefixCache`), and computes one
    token a step and environment. The more environments an env runner has, the more of them share a forward pass.
    Training computes observations that begin one another as one sequence (`language_model.last_states`), which saves
    most where a minibatch has an episode's steps together: `shuffle_batch_per_epoch=False`. RLlib stores the logits
    [A] of every step, so that a vocabulary of 150,000 takes 0.6 MB a step.

    The settings in `model_config` are those of `settings.ModuleSettings`.

    Attributes:
        language_model: The model, with Hugging Face's names.
        prefix_cache: Of sampling; no part of the state. `clear` it after a weight was written through its `data`.

    Raises:
        ValueError: For an unknown setting, a model that cannot be had, or an environment with another observation,
            vocabulary, alphabet or a room beyond the model's context; the message says what mends it.
    """

    def setup(self) -> None:
        """Loads model and tokenizer, and checks the spaces."""
        self.settings = from_mapping(
            ModuleSettings, {name: value for name, value in self.model_config.items() if name not in _RLLIBS}
        )
        name, trust = self.settings.model, self.settings.trust_remote_code
        folder = resolve_model(name)
        tokenizer = load_tokenizer(folder, trust_remote_code=trust)
        actions = actions_of(tokenizer, self.settings.alphabet)
        self.language_model = load_model(folder, dtype=torch.float32, trust_remote_code=trust)
        check_model(self.language_model, len(tokenizer))
        use_grouped_attention(self.language_model)
        config = self.language_model.config
        check_spaces(
            self.observation_space,
            self.action_space,
            model=name,
            folder=folder,
            config=config,
            num_tokens=len(tokenizer),
            num_actions=len(actions.token_ids),
            alphabet=self.settings.alphabet,
        )
        self.vf_head = torch.nn.Linear(config.get_text_config().hidden_size, 1)
        torch.nn.init.zeros_(self.vf_head.weight)
        torch.nn.init.zeros_(self.vf_head.bias)
        self.register_buffer("_token_ids", torch.as_tensor(actions.token_ids), persistent=False)
        self.register_buffer("_masked", torch.as_tensor(~actions.allowed), persistent=False)
        self.prefix_cache = PrefixCache(self.settings.cache_positions)
        self.train(False)

    def train(self, mode: bool = True) -> CausalLMModule:
        """Stays in evaluation mode: a policy scored with dropout is not the one that was sampled."""
        return super().train(False)

    def write_policy(self, folder: str | Path) -> None:
        """Writes the language model as a Hugging Face folder: configuration, safetensors, tokenizer, chat template.

        The value head is not in it.

        Raises:
            OSError: If it cannot be written.
        """
        weights = {name: tensor.detach().cpu() for name, tensor in self.language_model.named_parameters()}
        source = PolicySettings(policy_model=self.settings.model, trust_remote_code=self.settings.trust_remote_code)
        write_policy(folder, weights, source)

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Samples: returns the logits [B, A] of the actions, with the cache."""
        token_ids, lengths = _sequences(batch)
        logits = self.prefix_cache.logits(self.language_model, token_ids.cpu().numpy(), lengths.cpu().numpy())
        if logits is None:
            states, head = last_states(self.language_model, token_ids, lengths)
            logits = head(states)
        return {Columns.ACTION_DIST_INPUTS: self._of_actions(logits)}

    def _forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Returns the logits [B, A] of the actions, and the states [B, H] that `compute_values` takes."""
        states, head = last_states(self.language_model, *_sequences(batch))
        return {Columns.ACTION_DIST_INPUTS: self._of_actions(head(states)), Columns.EMBEDDINGS: states}

    def compute_values(self, batch: dict[str, Any], embeddings: torch.Tensor | None = None) -> torch.Tensor:
        """Returns the values [B] of observations, or of their states [B, H].

        Without states, as RLlib's estimate of advantages calls it, no gradient leads into the language model.
        """
        if embeddings is None:
            with torch.no_grad():
                embeddings, _ = last_states(self.language_model, *_sequences(batch))
        return self.vf_head(embeddings).squeeze(-1)

    def make_target_networks(self) -> None:
        """Makes APPO's target network, a copy of the language model."""
        self.target_model = make_target_network(self.language_model)

    def get_target_network_pairs(self) -> list[tuple[PreTrainedModel, PreTrainedModel]]:
        """Returns the language model and its copy."""
        return [(self.language_model, self.target_model)]

    def forward_target(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Returns the logits [B, A] of the target network."""
        with torch.no_grad():
            states, head = last_states(self.target_model, *_sequences(batch))
            return {TARGET_NETWORK_ACTION_DIST_INPUTS: self._of_actions(head(states))}

    def get_non_inference_attributes(self) -> list[str]:
        """Returns what env runners do without."""
        return ["vf_head", "target_model"]

    def _of_actions(self, logits: torch.Tensor) -> torch.Tensor:
        """Returns the logits [B, A] of the actions, of those [B, V] of the tokens."""
        return logits.float()[:, self._token_ids].masked_fill(self._masked, MASKED)


def _sequences(batch: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    observation = batch[Columns.OBS]
    return observation["token_ids"], observation["length"]
