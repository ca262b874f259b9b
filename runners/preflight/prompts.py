"""What a look at the prompts says: how they are written, and how many are too long."""

from __future__ import annotations

from collections.abc import Iterator

from runners.settings import SamplingSettings


def faults_of_template(model: str, has_template: bool) -> Iterator[str]:
    """Yields a sentence where a model has no chat template."""
    if not has_template:
        yield (
            f"the model {model!r} has no chat template: prompts are the environment's plain text. Put a "
            "chat_template.jinja into its folder, or take the variant of it that was tuned to chat."
        )


def faults_of_prompts(
    num_problems: int, num_dropped: int, sampling: SamplingSettings, *, solutions: bool
) -> Iterator[str]:
    """Yields a sentence where problems are left out because they are too long.

    Args:
        num_problems: That were looked at.
        num_dropped: Of these.
        sampling: The limits.
        solutions: Whether solutions are held against max_tokens too.
    """
    if not num_dropped:
        return
    limit = f"max_prompt_tokens={sampling.max_prompt_tokens}"
    mend = f"--set max_prompt_tokens={2 * sampling.max_prompt_tokens}"
    if solutions:
        limit += f", or solutions longer than max_tokens={sampling.max_tokens}"
        mend += f", --set max_tokens={2 * sampling.max_tokens}"
    yield (
        f"{num_dropped} of {num_problems} problems have prompts longer than {limit}, and are replaced by others. "
        f"Raise it: {mend}."
    )
