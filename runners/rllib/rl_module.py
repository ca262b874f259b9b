"""The policy as an RLModule: RLlib places it, checkpoints it and hands it to the learner; the Updater runs it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import torch
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule

from runners.updating.model import make_scorer
from runners.updating.sharding import gather, shard, shard_like

# RLlib asks every module for spaces; nothing here reads them, since prompts and completions are token ids.
PLACEHOLDER_SPACE = gym.spaces.Box(-1.0, 1.0, (1,))


class TextPolicyModule(TorchRLModule):
    """Holds a `Scorer`, made by `make_scorer(**model_config)`."""

    def setup(self) -> None:
        """Loads the model, in main memory; `to` puts it where it belongs."""
        self.scorer = make_scorer(**self.model_config)

    def to(self, *args: Any, **kwargs: Any) -> TextPolicyModule:
        """Puts the policy, or this rank's shard of it, on a device; a sharded one needs the device alone."""
        if not self.model_config["update"].fully_shard:
            return super().to(*args, **kwargs)
        shard(self.scorer, torch.device(*args, **kwargs))
        return self

    def train(self, mode: bool = True) -> TextPolicyModule:
        """Stays in evaluation mode; see `Scorer.train`."""
        super().train(False)
        self.scorer.train(False)
        return self

    def get_state(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Returns Hugging Face parameter name -> float32 array; tied parameters stand under one name.

        The value head's stand under `vf_head.`. Sharded ranks must all be asked; rank 0 has the answer, the others {}.
        """
        parameters = gather(self._parameters_by_name())
        return {name: tensor.to("cpu", torch.float32, copy=True).numpy() for name, tensor in parameters}

    def set_state(self, state: dict[str, Any]) -> None:
        """Loads what `get_state` returned; a sharded rank takes its shard."""
        parameters = dict(self._parameters_by_name())
        with torch.no_grad():
            for name, array in state.items():
                parameters[name].copy_(shard_like(parameters[name], torch.as_tensor(array)))

    def _parameters_by_name(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        """Yields what is trained: with adapters those alone, beside a model that is loaded from where it came from."""
        yield from (item for item in self.scorer.model.named_parameters() if item[1].requires_grad)
        if self.scorer.vf_head is not None:
            yield from self.scorer.vf_head.named_parameters(prefix="vf_head")
