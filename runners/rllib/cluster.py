"""Ray for a run of the command line: started, or joined, and whether it has what the run asks for."""

from __future__ import annotations

import logging
import os
import secrets
import sys
from collections.abc import Mapping
from typing import Any

# Ray's switch for machines that are no part of a cluster: the addresses of its processes are 127.0.0.1, and they listen
# to nobody else. It is read when ray is imported, and has the name of the systems where it is the default.
if not os.environ.get("RAY_ADDRESS"):
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")

import ray
import torch

from runners.run_settings import ResourceSettings

_PROCESSES_A_CORE = 16
_TOKEN_VARIABLES = {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"}


def start(resources: ResourceSettings) -> None:
    """Starts Ray on this machine, or joins the cluster of $RAY_ADDRESS, with its routine messages off the display.

    A machine with fewer cores than processes still runs them all, in turn. Another Ray of this machine is left alone,
    and a started one listens to this machine alone, with a token of its own.

    Raises:
        ValueError: If Ray does not have what is asked for: it would wait for that for ever.
    """
    for kind in ("learner", "env_runner"):
        gpus = getattr(resources, f"num_gpus_per_{kind}")
        if not getattr(resources, f"num_{kind}s") and gpus > torch.cuda.device_count():
            raise ValueError(
                f"num_gpus_per_{kind}={gpus:g} with num_{kind}s=0, but this process sees {torch.cuda.device_count()} "
                f"GPUs: leave it out, or give --num-{kind.replace('_', '-')}s."
            )
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    options: dict[str, Any] = {}
    if not os.environ.get("RAY_ADDRESS"):
        processes, cores = 1 + resources.num_env_runners + resources.num_learners, os.cpu_count() or 1
        if processes > _PROCESSES_A_CORE * cores:
            raise ValueError(
                f"num_env_runners={resources.num_env_runners} and num_learners={resources.num_learners} are more than "
                f"{_PROCESSES_A_CORE} processes for each of this machine's {cores} cores: lower them, or join a "
                "cluster with RAY_ADDRESS."
            )
        # Else Ray writes one to ~/.ray/auth_token, which `ray start --head` follows and `ray start --address` does not:
        # a second node could not join.
        if not os.environ.keys() & _TOKEN_VARIABLES:
            os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
        options = {
            "address": "local",
            "num_cpus": max(processes, cores),
            "include_dashboard": False,
        }
    ray.init(logging_level=logging.ERROR, **options)
    for name in ("ray.rllib", "ray.tune", "ray.train", "ray._private"):
        logging.getLogger(name).setLevel(logging.ERROR)
    check_resources(resources, [node["Resources"] for node in ray.nodes() if node["Alive"]])
    if busy := _lacking(resources, ray.available_resources()):
        print(f"note: others use this cluster, and the run waits for {', '.join(busy)}.", file=sys.stderr)


def check_resources(resources: ResourceSettings, nodes: list[dict[str, float]]) -> None:
    """Compares what env runners and learners reserve with what there is.

    Args:
        resources: What is asked for.
        nodes: Of each node of the cluster, resource -> how much it has.

    Raises:
        ValueError: If all nodes together have less, or no node has enough for a process.
    """
    for count, each, what in _processes(resources):
        for name, amount in each.items() if count else ():
            if amount > (most := max((node.get(name, 0) for node in nodes), default=0)):
                raise ValueError(f"Each {what} asks for {amount:g} {name}, but no node of Ray has more than {most:g}.")
    together = {name: sum(node.get(name, 0) for node in nodes) for node in nodes for name in node}
    if missing := _lacking(resources, together):
        raise ValueError(
            f"{resources.num_env_runners} env runners and {resources.num_learners} learners ask for "
            f"{', '.join(missing)} on {len(nodes)} nodes: lower --num-env-runners, --num-learners or the GPUs of each, "
            "or join a larger cluster with RAY_ADDRESS."
        )


def _lacking(resources: ResourceSettings, there: Mapping[str, float]) -> list[str]:
    """Returns a clause for each resource of which less is there than is asked for."""
    wanted: dict[str, float] = {}
    for count, each, _ in _processes(resources):
        for name, amount in each.items():
            wanted[name] = wanted.get(name, 0) + count * amount
    return [
        f"{amount:g} {name} where Ray has {there.get(name, 0):g}"
        for name, amount in wanted.items()
        if amount > there.get(name, 0)
    ]


def _processes(resources: ResourceSettings) -> list[tuple[int, dict[str, float], str]]:
    """Returns (number, what RLlib has Ray reserve for each, name); a learner with a GPU takes no CPU."""
    gpus = resources.num_gpus_per_learner
    return [
        (
            resources.num_env_runners,
            {"CPU": 1, "GPU": resources.num_gpus_per_env_runner, **resources.custom_resources_per_env_runner},
            "env runner",
        ),
        (
            resources.num_learners,
            {"CPU": 0 if gpus else 1, "GPU": gpus, **resources.custom_resources_per_learner},
            "learner",
        ),
    ]


def shut_down() -> None:
    """Ends what `start` began, or leaves the cluster it joined."""
    ray.shutdown()
