"""From rewards to advantages: how much better a completion was than what was to be expected."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from runners.objectives.registry import Registry

# As trl's GRPOTrainer has them (`nanstd` is the sample's, and it divides by std + 1e-4): with binary rewards the
# standard deviation is at least 0.25 for G <= 16, so eps takes off less than a thousandth.
DDOF = 1
EPS = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupAdvantages:
    """What an advantage estimator returns.

    Attributes:
        advantages: [B] float64; 0 where not valid.
        valid: [B] bool; False where the reward is missing or its group has fewer than two rewards to compare.
        num_groups: Distinct group ids.
        num_zero_variance_groups: Groups of two or more known rewards, all of them equal: they teach nothing.
    """

    advantages: np.ndarray
    valid: np.ndarray
    num_groups: int
    num_zero_variance_groups: int


AdvantageFunction = Callable[[np.ndarray, np.ndarray], GroupAdvantages]
ADVANTAGES: Registry[AdvantageFunction] = Registry("advantage estimator")
register_advantage = ADVANTAGES.register


def estimate_advantages(name: str, rewards: np.ndarray, group_ids: np.ndarray) -> GroupAdvantages:
    """Calls the estimator of that name, and checks what a user's own returns.

    Args:
        name: In ADVANTAGES, or "package.module:function".
        rewards: [B] float, NaN where missing.
        group_ids: [B] any ids.

    Raises:
        ValueError: For an unknown name, a result of another kind, or rewards and groups that the estimator refuses.
    """
    estimator = ADVANTAGES.lookup(name)
    try:
        inspect.signature(estimator).bind(rewards, group_ids)
    except TypeError as error:
        raise ValueError(f"The advantage {name!r} is not called with (rewards, group_ids): {error}.") from error
    result = estimator(rewards, group_ids)
    if not isinstance(result, GroupAdvantages):
        raise ValueError(f"The advantage {name!r} returned a {type(result).__name__}; it must return GroupAdvantages.")
    for field in ("advantages", "valid"):
        shape = np.shape(getattr(result, field))
        if shape != np.shape(rewards):
            raise ValueError(
                f"The advantage {name!r} returned {field} of shape {shape} for rewards of shape {np.shape(rewards)}; "
                f"both must be [B], one for each completion."
            )
    return result


@dataclass(frozen=True, slots=True, kw_only=True)
class _Groups:
    """Statistics of the known rewards, spread back over the rows."""

    known: np.ndarray  # [B] bool, the reward is not NaN
    count: np.ndarray  # [B] known rewards in the row's group
    mean: np.ndarray  # [B] of the row's group
    std: np.ndarray  # [B] of the row's group; NaN where count <= ddof
    zero_variance: np.ndarray  # [B] bool, all known rewards of the row's group are equal
    index: np.ndarray  # [B] which group, 0..num_groups-1
    num_groups: int


def _group(rewards: np.ndarray, group_ids: np.ndarray, ddof: int = DDOF) -> _Groups:
    rewards, group_ids = np.asarray(rewards, np.float64), np.asarray(group_ids)
    assert rewards.ndim == 1 and rewards.shape == group_ids.shape, (rewards.shape, group_ids.shape)
    if np.isinf(rewards).any():
        row = int(np.flatnonzero(np.isinf(rewards))[0])
        raise ValueError(f"The reward of row {row} is {rewards[row]}; rewards are finite, or NaN where one is missing.")
    ids, index = np.unique(group_ids, return_inverse=True)
    known = ~np.isnan(rewards)
    filled = np.where(known, rewards, 0.0)
    count = np.bincount(index[known], minlength=len(ids))
    mean = np.bincount(index, filled, minlength=len(ids)) / np.maximum(count, 1)
    squares = np.bincount(index, np.where(known, (filled - mean[index]) ** 2, 0.0), minlength=len(ids))
    std = np.sqrt(np.where(count > ddof, squares / np.maximum(count - ddof, 1), np.nan))
    low, high = np.full(len(ids), np.inf), np.full(len(ids), -np.inf)
    np.minimum.at(low, index[known], rewards[known])
    np.maximum.at(high, index[known], rewards[known])
    spread = [array[index] for array in (count, mean, std, low >= high)]
    return _Groups(
        known=known,
        count=spread[0],
        mean=spread[1],
        std=spread[2],
        zero_variance=spread[3],
        index=index,
        num_groups=len(ids),
    )


def _result(
    groups: _Groups, advantages: np.ndarray, valid: np.ndarray, *, zero_variance_is_zero: bool = True
) -> GroupAdvantages:
    # The mean of equal floats can differ from them in the last bit; dividing by eps would make that an advantage.
    zero = ~valid | groups.zero_variance if zero_variance_is_zero else ~valid
    zero_variance_rows = groups.zero_variance & (groups.count >= 2)
    return GroupAdvantages(
        advantages=np.where(zero, 0.0, advantages),
        valid=valid,
        num_groups=groups.num_groups,
        num_zero_variance_groups=len(np.unique(groups.index[zero_variance_rows])),
    )


def _require_pairs(groups: _Groups) -> None:
    sizes = np.bincount(groups.index)
    if (sizes < 2).any():
        raise ValueError(
            f"{int((sizes < 2).sum())} of {len(sizes)} groups have one completion, and a group of one has no baseline. "
            f"Set group_size >= 2, or choose an advantage that needs no group: 'reinforce', 'reinforce_batch' or "
            f"'reinforce++'."
        )


def group_advantages(
    rewards: np.ndarray,
    group_ids: np.ndarray,
    *,
    normalize_std: bool = True,
    ddof: int = DDOF,
    eps: float = EPS,
) -> GroupAdvantages:
    """A_i = (r_i - mean_g) / (std_g + eps), g the row's group (GRPO, https://arxiv.org/abs/2402.03300, section 4.1.2).

    A NaN reward is a missing one: it is left out of mean and std and its row is not valid. A group with fewer than two
    known rewards is not valid as a whole. A group without spread gets exactly 0 and stays valid.

    Args:
        rewards: [B] float, NaN where missing.
        group_ids: [B] any ids; rows of one group may lie anywhere.
        normalize_std: Divide by std + eps.
        ddof: std is sqrt(sum((r - mean)^2) / (n - ddof)); 1 as in trl.
        eps: Added to std; 1e-4 as in trl.

    Raises:
        ValueError: If a group has one row only, or a reward is infinite.

    >>> group_advantages([1.0, 0.0, 0.0, 1.0], [7, 7, 7, 7], normalize_std=False).advantages.tolist()
    [0.5, -0.5, -0.5, 0.5]
    """
    rewards = np.asarray(rewards, np.float64)
    groups = _group(rewards, group_ids, ddof)
    _require_pairs(groups)
    scale = groups.std + eps if normalize_std else 1.0
    return _result(groups, (rewards - groups.mean) / scale, groups.known & (groups.count >= 2))


@register_advantage("grpo")
def grpo(rewards: np.ndarray, group_ids: np.ndarray) -> GroupAdvantages:
    """A = (r - mean_g) / (std_g + eps), https://arxiv.org/abs/2402.03300. Shapes as in `group_advantages`."""
    return group_advantages(rewards, group_ids)


@register_advantage("dr_grpo")
def dr_grpo(rewards: np.ndarray, group_ids: np.ndarray) -> GroupAdvantages:
    """A = r - mean_g, https://arxiv.org/abs/2503.20783: without std, which favours problems of little spread."""
    return group_advantages(rewards, group_ids, normalize_std=False)


@register_advantage("rloo")
def rloo(rewards: np.ndarray, group_ids: np.ndarray) -> GroupAdvantages:
    """A_i = r_i - mean of the group's others = n / (n - 1) * (r_i - mean_g), https://arxiv.org/abs/2402.14740."""
    groups = _group(rewards, group_ids)
    _require_pairs(groups)
    others = np.maximum(groups.count - 1, 1)
    return _result(groups, groups.count / others * (rewards - groups.mean), groups.known & (groups.count >= 2))


@register_advantage("gpg")
def gpg(rewards: np.ndarray, group_ids: np.ndarray) -> GroupAdvantages:
    """A = alpha (r - mean_g), alpha = groups / groups with spread, https://arxiv.org/abs/2504.02546.

    Groups without spread add zeros to the batch's mean gradient; alpha makes good for them. Groups that are not valid
    count on neither side, since they leave the loss's denominators too.
    """
    centred = group_advantages(rewards, group_ids, normalize_std=False)
    num_valid = len(np.unique(np.asarray(group_ids)[centred.valid]))
    alpha = num_valid / max(1, num_valid - centred.num_zero_variance_groups)
    return replace(centred, advantages=alpha * centred.advantages)


@register_advantage("reinforce")
def reinforce(rewards: np.ndarray, group_ids: np.ndarray) -> GroupAdvantages:
    """The reward itself, no baseline (Williams 1992, https://doi.org/10.1007/BF00992696)."""
    groups = _group(rewards, group_ids)
    return _result(groups, np.asarray(rewards, np.float64), groups.known, zero_variance_is_zero=False)


@register_advantage("gae")
def gae(rewards: np.ndarray, group_ids: np.ndarray) -> GroupAdvantages:
    """The reward itself, which the critic turns into an advantage for each token; see `objectives.gae`."""
    return reinforce(rewards, group_ids)


@register_advantage("reinforce_batch")
def reinforce_batch(rewards: np.ndarray, group_ids: np.ndarray) -> GroupAdvantages:
    """A = r - mean of the whole batch: a baseline that knows nothing of the prompt."""
    return _over_batch(rewards, group_ids, normalize_std=False)


@register_advantage("reinforce++")
def reinforce_plus_plus(rewards: np.ndarray, group_ids: np.ndarray) -> GroupAdvantages:
    """A = (r - mean) / (std + eps) over the whole batch, https://arxiv.org/abs/2501.03262 (KL in the reward)."""
    return _over_batch(rewards, group_ids, normalize_std=True)


def _over_batch(rewards: np.ndarray, group_ids: np.ndarray, *, normalize_std: bool) -> GroupAdvantages:
    if len(rewards) < 2:
        raise ValueError("The batch has one completion, and no baseline: set num_prompts * group_size >= 2.")
    batch = group_advantages(rewards, np.zeros(len(rewards), np.int64), normalize_std=normalize_std)
    return _result(_group(rewards, group_ids), batch.advantages, batch.valid, zero_variance_is_zero=False)
