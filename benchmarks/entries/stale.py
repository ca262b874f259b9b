"""GRPO on samples that are up to k updates old: an env runner samples while the learner updates (max_staleness)."""

from __future__ import annotations

from functools import partial

from entries.ours import train

k0, k1, k2, k4 = (partial(train, algorithm="grpo", num_env_runners=1, max_staleness=k) for k in (0, 1, 2, 4))
