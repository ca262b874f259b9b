"""Whether an environment's spaces are those of a model: its tokens, its actions, its context."""

from __future__ import annotations

from pathlib import Path

from gymnasium import spaces
from transformers import PreTrainedConfig


def check_spaces(
    observation_space: spaces.Space,
    action_space: spaces.Space,
    *,
    model: str,
    folder: Path,
    config: PreTrainedConfig,
    num_tokens: int,
    num_actions: int,
    alphabet: str | None,
) -> None:
    """Checks that a model can act in an environment.

    Args:
        observation_space: Of one environment.
        action_space: Of one environment.
        model: The model's name.
        folder: The model's folder.
        config: The model's.
        num_tokens: V of its tokenizer.
        num_actions: A of the module.
        alphabet: The module's.

    Raises:
        ValueError: If it cannot; the message says which option of the environment or the module mends it.
    """
    if not isinstance(observation_space, spaces.Dict) or set(observation_space) != {"token_ids", "length"}:
        raise ValueError(
            "CausalLMModule reads the tokens themselves, observation Dict(token_ids, length), but the environment's is "
            f"{observation_space}: make GSM8KTokens-v0 with observation='dict', and leave out connectors that flatten "
            "it, such as FlattenObservations."
        )
    token_ids = observation_space["token_ids"]
    assert isinstance(token_ids, spaces.Box)
    size, (room,) = int(token_ids.high.max()), token_ids.shape
    if size != num_tokens:
        raise ValueError(
            f"The environment's vocabulary has {size:,} tokens, but the tokenizer of model={model!r} has "
            f"{num_tokens:,}: make the environment with tokenizer={str(folder)!r}."
        )
    if not isinstance(action_space, spaces.Discrete) or action_space.n != num_actions:
        raise ValueError(
            f"The environment's actions are {action_space}, but with alphabet={alphabet!r} the module has "
            f"{num_actions:,}: give the module's model_config the environment's alphabet."
        )
    context = getattr(config.get_text_config(), "max_position_embeddings", None)
    if context is not None and room > context:
        raise ValueError(
            f"The environment's observations have room for {room:,} tokens, but the context of model={model!r} is "
            f"{context:,}: make it with a smaller max_prompt_tokens or max_tokens, of which {room:,} is the sum."
        )
