"""Whether an engine runs the learner's weights: both score the same tokens."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import methodcaller
from typing import Any, Protocol

import numpy as np

from agents import SamplingParams
from runners.sampling.problems import sequence_seed
from runners.sampling.rollout import Rollout, SampledTokens
from runners.settings import EngineSettings
from runners.support.errors import UserError
from runners.updating.batch import padded_columns

_FIXED_TOKENS = 8
_SEQUENCES, _TOKENS = 8, 4
# Of a step's tokens that an engine draws again, so many must be the same, or there is no telling.
_LEAST_TOKENS = 8
# Where the learner has moved by more than this many times what engine and learner differ by anyhow, the part of its
# change that a current engine shows is 1 to within 2/4, and that of one that is an update behind 0.
_CLEAR = 4.0
_BEHIND = 0.5
# float32's, of a log-probability.
_ROUNDING = 1e-6


class Samplers(Protocol):
    """The engines' `Sampler`s, wherever they are."""

    def call_all(self, call: Callable[[Any], Any]) -> Mapping[int, Any]:
        """Returns the answers by id; one that fails gives none."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstTokens:
    """The first tokens of some of a step's sequences, under the weights that drew them.

    Attributes:
        sequences: [P]; their log-probs are the engine's.
        seeds: [P] with which an engine draws them again.
        learner: [P] arrays, the learner's log-probs of the same tokens.
    """

    sequences: Sequence[SampledTokens]
    seeds: tuple[int, ...]
    learner: Sequence[np.ndarray]


class WeightCheck:
    """Compares every engine with the learner once weights were delivered.

    By what both say of a few tokens, which may differ by `sync_check_bound`. A small update changes them by less: after
    a step the tokens are therefore its own sequences' first ones, drawn again with the same seeds, and what counts
    besides is whether the engine's log-probs moved as the learner's did.

    Args:
        samplers: Asked for `probe`.
        updaters: Asked for `logprobs`.
        settings: A `sync_check_bound` of None compares nothing.
        sampling: As in training.
        seed: The run's.
    """

    def __init__(
        self, samplers: Samplers, updaters: Any, settings: EngineSettings, sampling: SamplingParams, seed: int
    ) -> None:
        self._samplers, self._updaters, self._settings = samplers, updaters, settings
        self._sampling, self._seed = replace(sampling, n=1), seed

    def before_update(self, rollouts: Sequence[Rollout], policy_version: int) -> FirstTokens | None:
        """Returns what `after_delivery` compares with, of some of a step's rollouts [B]; they are whole groups.

        Only those that weights of `policy_version` drew tell the update's change from others'; None where none did.
        """
        if self._settings.sync_check_bound is None:
            return None
        groups: Counter[int] = Counter()
        members = []
        for rollout in rollouts:
            members.append(groups[rollout.group_id])
            groups[rollout.group_id] += 1
        places = range(0, len(rollouts), max(1, len(rollouts) // _SEQUENCES))[:_SEQUENCES]
        chosen = [
            (rollouts[place], members[place]) for place in places if rollouts[place].policy_version == policy_version
        ]
        if not chosen:
            return None
        sequences = [_beginning(rollout) for rollout, _ in chosen]
        return FirstTokens(
            sequences=sequences,
            seeds=tuple(sequence_seed(self._seed, "train", rollout.group_id, 0) + member for rollout, member in chosen),
            learner=self._learner_logprobs(sequences),
        )

    def after_delivery(self, policy_version: int, before: FirstTokens | None = None) -> float:
        """Compares the engines with the learner.

        Args:
            policy_version: That was delivered.
            before: Of the step whose update it was; without it the tokens are those of a fixed prompt.

        Returns:
            The mean difference, nats a token; 0 if nothing was compared.

        Raises:
            UserError: If it is no number: NaN stands in the weights.
            RuntimeError: If it is more than `sync_check_bound`, or an engine did not move with the learner.
        """
        if self._settings.sync_check_bound is None:
            return 0.0
        if before is None:
            call = methodcaller("probe", replace(self._sampling, max_tokens=_FIXED_TOKENS, seed=0))
        else:
            sampling = replace(self._sampling, max_tokens=min(_TOKENS, self._sampling.max_tokens), seed=before.seeds)
            call = methodcaller("probe", sampling, [sequence.prompt_token_ids for sequence in before.sequences])
        probes: Mapping[int, Sequence[SampledTokens]] = self._samplers.call_all(call)
        if not probes:  # every engine has just failed: the next call restores them, and delivers again
            return 0.0
        scores = iter(self._learner_logprobs([sequence for probe in probes.values() for sequence in probe]))
        learner = {worker: [next(scores) for _ in probe] for worker, probe in probes.items()}
        mean = self._difference(probes, learner, policy_version)
        if before is not None:
            for worker, probe in probes.items():
                self._check_moved(worker, share_of_change(before, probe, learner[worker]), policy_version)
        return mean

    def _learner_logprobs(self, sequences: Sequence[SampledTokens]) -> list[np.ndarray]:
        columns = padded_columns(sequences)
        logprobs = self._updaters.ask(methodcaller("logprobs", columns))
        return [row[mask] for row, mask in zip(logprobs, columns["loss_mask"], strict=True)]

    def _difference(
        self,
        probes: Mapping[int, Sequence[SampledTokens]],
        learner: Mapping[int, Sequence[np.ndarray]],
        policy_version: int,
    ) -> float:
        engine = np.concatenate([sequence.rollout_logprobs for probe in probes.values() for sequence in probe])
        apart = np.abs(engine - np.concatenate([logprobs for scored in learner.values() for logprobs in scored]))
        mean, bound = float(apart.mean(dtype=np.float64)), self._settings.sync_check_bound
        assert bound is not None
        if math.isnan(mean):
            raise UserError(
                f"The log-probs of policy version {policy_version} are NaN: its weights hold NaN or inf. "
                + ("Look at the model's files." if policy_version == 0 else "The run has diverged: lower lr.")
            )
        if not mean <= bound:
            raise RuntimeError(
                f"After the weight sync to policy version {policy_version}, engine {self._settings.engine!r} and "
                f"learner differ by {mean:.3g} nats a token (largest {apart.max():.3g}) on the same tokens; allowed "
                f"are {bound}. The engine does not run the learner's weights, or in another precision: check its "
                "dtype, or raise agents(sync_check_bound=...)."
            )
        return mean

    def _check_moved(self, worker: int, share: float | None, policy_version: int) -> None:
        if share is None or share >= _BEHIND:
            return
        raise RuntimeError(
            f"After the weight sync to policy version {policy_version}, engine {self._settings.engine!r} of env runner "
            f"{worker} does not run the learner's weights: on tokens of the step's own batch its log-probs moved "
            f"{share:.2g} times as far as the learner's, where 1 is right and 0 has the weights of the update before. "
            "Try another agents(weight_transfer=...), or compare nothing with agents(sync_check_bound=None)."
        )


def share_of_change(
    before: FirstTokens, engine: Sequence[SampledTokens], learner: Sequence[np.ndarray]
) -> float | None:
    """Returns the part of the learner's change that an engine shows: the least-squares slope of one on the other.

    Only tokens that the engine drew again are compared. What engine and learner differ by in any case (precision, other
    kernels) falls out, since each is compared with itself.

    Args:
        before: [P] sequences under the weights before the update.
        engine: [P] the same under the weights it has now.
        learner: [P] arrays, the learner's log-probs of the engine's tokens now.

    Returns:
        None where there is no telling: too few tokens are the same, or the learner moved by too little.
    """
    engine_changes, learner_changes, mismatches = [], [], []
    for then, old, now, new in zip(before.sequences, before.learner, engine, learner, strict=True):
        same = _num_same(then.completion_token_ids, now.completion_token_ids)
        engine_changes.append(now.rollout_logprobs[:same] - then.rollout_logprobs[:same])
        learner_changes.append(new[:same] - old[:same])
        mismatches.append(then.rollout_logprobs[:same] - old[:same])
    engine_change, learner_change, mismatch = (
        np.concatenate(parts).astype(np.float64) for parts in (engine_changes, learner_changes, mismatches)
    )
    if len(mismatch) < _LEAST_TOKENS:
        return None
    moved, differ = (math.sqrt(float(np.mean(values**2))) for values in (learner_change, mismatch))
    if moved <= _CLEAR * max(differ, _ROUNDING):
        return None
    return float(engine_change @ learner_change / (learner_change @ learner_change))


def _beginning(rollout: Rollout) -> SampledTokens:
    """Returns the first tokens of the first turn, with the prompt."""
    kept = min(_TOKENS, rollout.turn_lengths[0])
    return SampledTokens(
        prompt_token_ids=rollout.prompt_token_ids,
        completion_token_ids=rollout.completion_token_ids[:kept],
        completion_mask=rollout.completion_mask[:kept],
        rollout_logprobs=rollout.rollout_logprobs[:kept],
        policy_version=rollout.policy_version,
    )


def _num_same(first: Sequence[int], second: Sequence[int]) -> int:
    """Returns how many ids both begin with."""
    different = (place for place, (a, b) in enumerate(zip(first, second, strict=False)) if a != b)
    return next(different, min(len(first), len(second)))
