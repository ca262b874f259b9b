"""Handles of tensors, opened by another process."""

from __future__ import annotations

import base64
import pickle
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from agents.tensor_handles import opened, pack

OPEN = """
import sys, torch
from agents.tensor_handles import opened
tensors = opened(sys.stdin.read())
print([(name, str(tensor.dtype), tensor.tolist()) for name, tensor in tensors])
tensors[0][1].fill_(9)
"""


def test_another_process_opens_the_senders_memory() -> None:
    weight = torch.nn.Parameter(torch.arange(6.0).reshape(2, 3))
    payload = pack([("weight", weight), ("half", torch.ones(2, dtype=torch.bfloat16))])
    assert len(payload) < 2000
    run = subprocess.run([sys.executable, "-c", OPEN], input=payload, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == str(
        [("weight", "torch.float32", [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]), ("half", "torch.bfloat16", [1.0, 1.0])]
    )
    # No copy was made: what the other process wrote is seen here.
    assert torch.equal(weight.detach(), torch.full((2, 3), 9.0))


def test_every_payload_is_opened_once_and_the_sender_goes_on() -> None:
    weight = torch.zeros(1000)
    for value in range(3):
        weight.fill_(value)
        for payload in [pack([("weight", weight)]) for _ in range(2)]:
            assert torch.equal(opened(payload)[0][1], torch.full((1000,), float(value)))


def test_anything_but_tensors_is_refused() -> None:
    with pytest.raises(ValueError, match=r"hold no .*system"):
        opened(base64.b64encode(pickle.dumps(__import__("os").system)).decode())


def test_too_little_shared_memory_is_said_before_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10))
    with pytest.raises(RuntimeError, match="shm-size"):
        pack([("weight", torch.zeros(1000))])
