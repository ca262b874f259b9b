"""The policy as an RLModule: a Hugging Face causal language model that scores sequences."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import gymnasium as gym
import torch
import torch.nn.functional as F
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule
from transformers import PreTrainedModel

from agents.models import resolve_model
from agents.transformers_agent.loading import DTYPES, load_model
from runners.objectives.logprobs import completion_logprobs, token_logprobs
from runners.objectives.packing import attention_mask, max_row_tokens, pack

# RLlib asks every module for spaces; nothing here reads them, since prompts and completions are token ids.
PLACEHOLDER_SPACE = gym.spaces.Box(-1.0, 1.0, (1,))


class TextPolicyModule(TorchRLModule):
    """Wraps the model of `model_config["model"]`.

    `forward_train` takes token_ids [B, T] and loss_mask [B, T] and returns logprobs [B, T] and entropies [B, T] of the
    masked tokens at `model_config["temperature"]`, 0 elsewhere. Dropout is off, in training as in every other pass.

    With `model_config["value_head"]` there are values [B, T] too: the return expected before each masked token is
    chosen, by a linear layer, zero at the start, on the same hidden states as the logits. It shares the transformer
    with the policy, stays out of `model` and of inference-only states, and so never reaches an engine.
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
        self.vf_head: torch.nn.Linear | None = None
        if options["value_head"]:
            self.vf_head = torch.nn.Linear(self.model.config.get_text_config().hidden_size, 1)
            torch.nn.init.zeros_(self.vf_head.weight)
            torch.nn.init.zeros_(self.vf_head.bias)

    def score(
        self, model: PreTrainedModel, batch: dict[str, Any], *, with_values: bool = False, **kwargs: Any
    ) -> dict[str, torch.Tensor]:
        """Returns logprobs and entropies [B, T] of a batch under `model`: this policy's or the reference.

        With `with_values` it returns values [B, T] from the same pass.
        """
        score = self._score_packed if self.model_config["share_prompts"] else self._score_rows
        device = batch["token_ids"].device.type
        with torch.autocast(device, dtype=torch.bfloat16, enabled=device == "cuda"):
            return score(model, batch, with_values, **kwargs)

    def _score_rows(
        self, model: PreTrainedModel, batch: dict[str, Any], with_values: bool, **kwargs: Any
    ) -> dict[str, torch.Tensor]:
        """Scores every sequence in a row of its own.

        Rows are padded on the right, where a causal model never looks from a real token: no attention mask is needed,
        and the faster kernels apply.
        """
        hidden = model.base_model(input_ids=batch["token_ids"], use_cache=False).last_hidden_state
        head, loss_mask = model.get_output_embeddings(), batch["loss_mask"]
        logprobs, entropies = completion_logprobs(hidden, head, batch["token_ids"], loss_mask, *self._limits, **kwargs)
        scores = {"logprobs": logprobs, "entropies": entropies}
        if with_values:
            scores["values"] = F.pad(self._values(hidden)[:, :-1], (1, 0)).where(loss_mask, 0.0)
        return scores

    def _score_packed(
        self, model: PreTrainedModel, batch: dict[str, Any], with_values: bool, **kwargs: Any
    ) -> dict[str, torch.Tensor]:
        """Scores the sequences of a prompt in one row; see `objectives.packing`."""
        token_ids, loss_mask = batch["token_ids"], batch["loss_mask"]
        ids, mask, lengths = (tensor.cpu().numpy() for tensor in (token_ids, loss_mask, batch["lengths"]))
        packed = pack(ids, mask, lengths, self.max_row_tokens)
        to_device = partial(torch.as_tensor, device=token_ids.device)
        hidden = model.base_model(
            input_ids=to_device(packed.token_ids),
            position_ids=to_device(packed.position_ids),
            attention_mask=attention_mask(to_device(packed.segments)),
            use_cache=False,
        ).last_hidden_state
        states = hidden.flatten(0, 1)[to_device(packed.predecessors)]
        logprobs, entropies = token_logprobs(
            states, model.get_output_embeddings(), token_ids[loss_mask], *self._limits, **kwargs
        )
        scores = {"logprobs": logprobs, "entropies": entropies}
        if with_values:
            scores["values"] = self._values(states)
        empty = torch.zeros(loss_mask.shape, device=token_ids.device)
        return {name: empty.masked_scatter(loss_mask, column) for name, column in scores.items()}

    def _values(self, states: torch.Tensor) -> torch.Tensor:
        """Returns the values [...] of hidden states [..., H], in float32 also where the pass is not."""
        assert self.vf_head is not None
        with torch.autocast(states.device.type, enabled=False):
            return self.vf_head(states.float()).squeeze(-1)

    @property
    def max_row_tokens(self) -> int:
        """Most tokens of a row that the completions of a prompt share."""
        return max_row_tokens(self.model.config.hidden_size)

    @property
    def _limits(self) -> tuple[float, int]:
        return self.model_config["temperature"], self.model_config["max_logits"]

    def train(self, mode: bool = True) -> TextPolicyModule:
        """Stays in evaluation mode: a policy scored with dropout is not the policy that was sampled."""
        return super().train(False)

    def _forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, torch.Tensor]:
        return self.score(
            self.model,
            batch,
            with_values=self.vf_head is not None,
            with_entropy_grad=self.model_config["entropy_coeff"] != 0.0,
        )

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, torch.Tensor]:
        return self.score(self.model, batch)

    def get_state(self, *args: Any, inference_only: bool = False, **kwargs: Any) -> dict[str, Any]:
        """Returns Hugging Face parameter name -> float array; tied parameters stand under one name.

        The value head's stand under `vf_head.`, and only where the state is not `inference_only`.
        """
        return {
            name: parameter.detach().to("cpu", torch.float32).numpy().copy()
            for name, parameter in self._parameters_by_name(inference_only)
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Loads what `get_state` returned."""
        parameters = dict(self._parameters_by_name())
        with torch.no_grad():
            for name, array in state.items():
                parameters[name].copy_(torch.as_tensor(array))

    def _parameters_by_name(self, inference_only: bool = False) -> Iterator[tuple[str, torch.nn.Parameter]]:
        yield from self.model.named_parameters()
        if self.vf_head is not None and not inference_only:
            yield from self.vf_head.named_parameters(prefix="vf_head")
