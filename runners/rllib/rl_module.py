"""The policy as an RLModule: a Hugging Face causal language model that scores sequences."""

from __future__ import annotations

from functools import partial
from typing import Any

import gymnasium as gym
import torch
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule
from transformers import PreTrainedModel

from agents.models import resolve_model
from agents.transformers_agent.loading import DTYPES, load_model
from runners.objectives.logprobs import completion_logprobs, token_logprobs
from runners.objectives.packing import attention_mask, pack

# RLlib asks every module for spaces; nothing here reads them, since prompts and completions are token ids.
PLACEHOLDER_SPACE = gym.spaces.Box(-1.0, 1.0, (1,))


class TextPolicyModule(TorchRLModule):
    """Wraps the model of `model_config["model"]`.

    `forward_train` takes token_ids [B, T] and loss_mask [B, T] and returns logprobs [B, T] and entropies [B, T] of the
    masked tokens at `model_config["temperature"]`, 0 elsewhere. Dropout is off, in training as in every other pass.
    """

    def setup(self) -> None:
        """Loads the model."""
        options = self.model_config
        self.model = load_model(
            resolve_model(options["model"]),
            dtype=DTYPES[options["dtype"]],
            device=torch.device("cpu"),  # the Learner moves the module to its own device
            trust_remote_code=options["trust_remote_code"],
        )
        if getattr(self.model.config, "final_logit_softcapping", None):
            raise ValueError(
                f"{options['model']!r} caps its logits (final_logit_softcapping), which the chunked log-probabilities "
                "of this module would leave out. Use a model without it."
            )

    def score(self, model: PreTrainedModel, batch: dict[str, Any], **kwargs: Any) -> dict[str, torch.Tensor]:
        """Returns logprobs and entropies [B, T] of a batch under `model`: this policy's or the reference."""
        score = self._score_packed if self.model_config["share_prompts"] else self._score_rows
        device = batch["token_ids"].device.type
        with torch.autocast(device, dtype=torch.bfloat16, enabled=device == "cuda"):
            logprobs, entropies = score(model, batch, **kwargs)
        return {"logprobs": logprobs, "entropies": entropies}

    def _score_rows(
        self, model: PreTrainedModel, batch: dict[str, Any], **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores every sequence in a row of its own.

        Rows are padded on the right, where a causal model never looks from a real token: no attention mask is needed,
        and the faster kernels apply.
        """
        hidden = model.base_model(input_ids=batch["token_ids"], use_cache=False).last_hidden_state
        head, limits = model.get_output_embeddings(), self._limits
        return completion_logprobs(hidden, head, batch["token_ids"], batch["loss_mask"], *limits, **kwargs)

    def _score_packed(
        self, model: PreTrainedModel, batch: dict[str, Any], **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores the sequences of a prompt in one row; see `objectives.packing`."""
        token_ids, loss_mask = batch["token_ids"], batch["loss_mask"]
        packed = pack(*(tensor.cpu().numpy() for tensor in (token_ids, loss_mask, batch["lengths"])))
        to_device = partial(torch.as_tensor, device=token_ids.device)
        hidden = model.base_model(
            input_ids=to_device(packed.token_ids),
            position_ids=to_device(packed.position_ids),
            attention_mask=attention_mask(to_device(packed.segments)),
            use_cache=False,
        ).last_hidden_state
        states = hidden.flatten(0, 1)[to_device(packed.predecessors)]
        scored = token_logprobs(states, model.get_output_embeddings(), token_ids[loss_mask], *self._limits, **kwargs)
        empty = torch.zeros(loss_mask.shape, device=token_ids.device)
        logprobs, entropies = (empty.masked_scatter(loss_mask, values) for values in scored)
        return logprobs, entropies

    @property
    def _limits(self) -> tuple[float, int]:
        return self.model_config["temperature"], self.model_config["max_logits"]

    def train(self, mode: bool = True) -> TextPolicyModule:
        """Stays in evaluation mode: a policy scored with dropout is not the policy that was sampled."""
        return super().train(False)

    def _forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, torch.Tensor]:
        return self.score(self.model, batch, with_entropy_grad=self.model_config["entropy_coeff"] != 0.0)

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, torch.Tensor]:
        return self.score(self.model, batch)

    def get_state(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Returns Hugging Face parameter name -> float array; tied parameters stand under one name."""
        return {name: p.detach().to("cpu", torch.float32).numpy().copy() for name, p in self.model.named_parameters()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Loads what `get_state` returned."""
        parameters = dict(self.model.named_parameters())
        with torch.no_grad():
            for name, array in state.items():
                parameters[name].copy_(torch.as_tensor(array))
