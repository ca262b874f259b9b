"""The policy as an RLModule: a Hugging Face causal language model that scores sequences."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import torch
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule
from transformers import PreTrainedModel

from agents.models import resolve_model
from agents.transformers_agent.loading import DTYPES, empty_model, load_model
from runners.rllib.scorer import Scorer
from runners.rllib.sharding import gather, is_follower, part_like

# RLlib asks every module for spaces; nothing here reads them, since prompts and completions are token ids.
PLACEHOLDER_SPACE = gym.spaces.Box(-1.0, 1.0, (1,))


class TextPolicyModule(TorchRLModule):
    """Wraps a `Scorer` of the model of `model_config["model"]`.

    `forward_train` takes token_ids [B, T], loss_mask [B, T] and lengths [B] and returns logprobs [B, T] and entropies
    [B, T] of the masked tokens at `model_config["temperature"]`, 0 elsewhere; with `model_config["value_head"]` values
    [B, T] too. The value head stays out of inference-only states, and so never reaches an engine.
    """

    def setup(self) -> None:
        """Loads the model, in the main memory; the learner puts it where it belongs."""
        self.scorer = self.make_scorer()

    def make_scorer(self, *, value_head: bool | None = None) -> Scorer:
        """Returns a scorer with the checkpoint's weights: the policy, or what it stays close to.

        Sharded learners but the first get one without weights, for `sharding.shard` to fill.
        """
        options = self.model_config
        make = empty_model if options["fully_shard"] and is_follower() else load_model
        model = make(
            resolve_model(options["model"]),
            dtype=DTYPES[options["dtype"]],
            trust_remote_code=options["trust_remote_code"],
        )
        return Scorer(
            model,
            temperature=options["temperature"],
            max_logits=options["max_logits"],
            share_prompts=options["share_prompts"],
            value_head=options["value_head"] if value_head is None else value_head,
            gradient_checkpointing=options["gradient_checkpointing"],
        )

    @property
    def model(self) -> PreTrainedModel:
        """The language model."""
        return self.scorer.model

    @property
    def vf_head(self) -> torch.nn.Linear | None:
        """The value head, if there is one."""
        return self.scorer.vf_head

    def train(self, mode: bool = True) -> TextPolicyModule:
        """Stays in evaluation mode; see `Scorer.train`."""
        super().train(False)
        self.scorer.train(False)
        return self

    def _forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, torch.Tensor]:
        return self.scorer(
            batch,
            with_values=self.vf_head is not None,
            with_entropy_grad=self.model_config["entropy_coeff"] != 0.0,
        )

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, torch.Tensor]:
        return self.scorer(batch)

    def get_state(self, *args: Any, inference_only: bool = False, **kwargs: Any) -> dict[str, Any]:
        """Returns Hugging Face parameter name -> float array; tied parameters stand under one name.

        The value head's stand under `vf_head.`, and only where the state is not `inference_only`. Sharded learners
        must all be asked; the first has the answer, the others {}.
        """
        parameters = gather(self._parameters_by_name(inference_only))
        return {name: tensor.to(torch.float32).numpy() for name, tensor in parameters}

    def set_state(self, state: dict[str, Any]) -> None:
        """Loads what `get_state` returned; a sharded learner takes its part."""
        parameters = dict(self._parameters_by_name())
        with torch.no_grad():
            for name, array in state.items():
                parameters[name].copy_(part_like(parameters[name], torch.as_tensor(array)))

    def _parameters_by_name(self, inference_only: bool = False) -> Iterator[tuple[str, torch.nn.Parameter]]:
        yield from self.model.named_parameters()
        if self.vf_head is not None and not inference_only:
            yield from self.vf_head.named_parameters(prefix="vf_head")
