"""Whether the memory that the first update adds is there, where the learners live."""

from __future__ import annotations

import platform
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from runners.updating.updater import Updater

# What a cgroup, such as a container's, may take and has taken; of version 2, and of version 1.
_CGROUP = (
    ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory.current"),
    ("sys/fs/cgroup/memory/memory.limit_in_bytes", "sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnerMemory:
    """The memory of one learner.

    Attributes:
        place: The memory's name: learners of one place share it.
        needed: Bytes that the first update adds at least: gradients and Adam's moments; activations come on top.
        free: Bytes that can still be had there.
    """

    place: str
    needed: int
    free: int


def memory_of(updater: Updater) -> LearnerMemory:
    """Returns a learner's memory; called where it lives."""
    needed, device = updater.first_step_bytes(), next(updater.scorer.parameters()).device
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        name = f"{torch.cuda.get_device_name(device)} {torch.cuda.get_device_properties(device).uuid}"
        return LearnerMemory(place=name, needed=needed, free=torch.cuda.mem_get_info(device)[0] + cached)
    return LearnerMemory(place=f"main memory of {platform.node()}", needed=needed, free=main_memory())


def main_memory(root: Path = Path("/")) -> int:
    """Returns the bytes of main memory that this process can still have: the machine's, or its cgroup's.

    Args:
        root: Where proc/ and sys/ are.
    """
    meminfo = root / "proc/meminfo"
    if not meminfo.exists():
        return 2**63 - 1  # another system: nothing is known, and nothing is said
    lines = dict(line.split(":", 1) for line in meminfo.read_text(encoding="utf-8").splitlines() if ":" in line)
    free = int(lines["MemAvailable"].split()[0]) * 1024
    for limit, taken in _CGROUP:
        if (root / limit).exists() and (most := (root / limit).read_text().strip()) != "max":
            # What it has taken counts its cache of files, which it would give back.
            free = min(free, int(most) - int((root / taken).read_text()) + _cached_files((root / limit).parent))
    return free


def faults_of_memory(learners: Iterable[LearnerMemory]) -> Iterator[str]:
    """Yields a sentence for each memory in which the learners' first update has no room."""
    by_place: dict[str, list[LearnerMemory]] = defaultdict(list)
    for learner in learners:
        by_place[learner.place].append(learner)
    for place, sharing in by_place.items():
        needed, free = sum(learner.needed for learner in sharing), min(learner.free for learner in sharing)
        if needed > free:
            yield (
                f"memory: gradients and Adam's moments of {len(sharing)} learners take {needed / 2**30:.1f} GiB, but "
                f"{place} has {free / 2**30:.1f} GiB left. Train adapters (--set lora_rank=16), a smaller --model, or "
                "fewer --num-learners; more learners with a GPU each can share it (--set fully_shard=true)."
            )


def _cached_files(cgroup: Path) -> int:
    statistics = cgroup / "memory.stat"
    lines = statistics.read_text(encoding="utf-8").splitlines() if statistics.exists() else []
    return sum(int(line.split()[1]) for line in lines if line.split()[0] == "inactive_file")
