"""A seed for each prompt of a call."""

from __future__ import annotations

from numpy.random import SeedSequence


def prompt_seeds(seed: int | tuple[int, ...] | None, count: int) -> tuple[int | None, ...]:
    """Returns the seeds of `count` prompts from `SamplingParams.seed`: [N].

    An int is mixed with each prompt's place, so that equal prompts are sampled differently. To 30 bits: vLLM and SGLang
    take 31, and completion j adds j.
    """
    if seed is None:
        return (None,) * count
    if isinstance(seed, int):
        return tuple(int(SeedSequence([seed % 2**64, row]).generate_state(1)[0] >> 2) for row in range(count))
    return seed
