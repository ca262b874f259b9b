"""Whether the time that a run has is enough, by how fast its first completions were sampled."""

from __future__ import annotations

from collections.abc import Iterator

from runners.run_settings import RunSettings


def faults_of_time(
    sequences: int, sequences_per_s: float, run: RunSettings, sample_timeout_s: float | None
) -> Iterator[str]:
    """Yields a sentence for each limit on time that a run will break.

    Args:
        sequences: Of a step, N * G.
        sequences_per_s: Sampled so far.
        run: How many steps, in how many minutes.
        sample_timeout_s: Seconds that the env runners have for a step's sampling; None is no bound.
    """
    step_s = sequences / sequences_per_s
    if sample_timeout_s is not None and step_s > sample_timeout_s:
        yield (
            f"time: sampling a step's {sequences} sequences takes about {step_s:.0f} s, but sample_timeout_s="
            f"{sample_timeout_s:g} ends it. Raise it (--set sample_timeout_s={2 * step_s:.0f}), or lower num_prompts, "
            "group_size or max_tokens."
        )
    if run.max_minutes is not None and run.steps * step_s > 60 * run.max_minutes:
        yield (
            f"time: sampling alone takes about {_words(step_s)} a step, {_words(run.steps * step_s)} for {run.steps} "
            f"steps, but max_minutes={run.max_minutes:g} ends the run after {int(60 * run.max_minutes / step_s) + 1} "
            "of them at most. Raise --max-minutes, or lower --steps, num_prompts, group_size or max_tokens."
        )


def _words(seconds: float) -> str:
    return f"{seconds:.2g} s" if seconds < 100 else f"{seconds / 60:.0f} min"
