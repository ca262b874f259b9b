"""Whatever stands in the files of a run, reading them is one sentence, and nothing is changed."""

import json
import random

import pytest

from runners.run_folder.folder import RunFolder
from runners.run_folder.manifest import read_manifest
from tests.runners.run_folder.test_folder import CONFIG

PIECES = [
    "{",
    "[",
    "]",
    "}",
    ":",
    "- ",
    "\n",
    "'",
    '"',
    "!!int ''",
    "&a",
    "*a",
    "? ",
    "1e999",
    "2001-13-45",
    "NaN",
    "\x00",
]
PIECES += [
    "format: 1\n",
    '"step":',
    "step",
    "\u2028",
    "!!python/object:os.system",
    "<<: ",
    "=",
    "0x",
    "1:2:3",
    "%",
    "|",
]


def hostile(rng, valid):
    kind = rng.randrange(3)
    if kind == 0:
        return bytes(rng.randrange(256) for _ in range(rng.randrange(60)))
    if kind == 1:
        return "".join(rng.choice(PIECES) for _ in range(rng.randrange(1, 20))).encode()
    data = bytearray(valid)
    for _ in range(rng.randrange(1, 4)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data[: rng.randrange(len(data))]) if rng.random() < 0.3 else bytes(data)


@pytest.mark.parametrize("number", [200, pytest.param(10_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["config.yaml", "metrics.jsonl", "manifest.json", "provenance.json"])
def test_hostile_bytes(tmp_path, name, number):
    folder = RunFolder(tmp_path)
    folder.write_config(CONFIG)
    folder.log({"step": 1, "loss": 0.5})
    folder.add_session({"command": "x"})
    checkpoint = tmp_path / "checkpoints"
    (checkpoint / "manifest.json").write_text(json.dumps({"format": 1, "files": {}, "config": {}}))
    path = (checkpoint if name == "manifest.json" else tmp_path) / name
    valid, rng = path.read_bytes(), random.Random(name)
    read = {
        "config.yaml": folder.read_config,
        "metrics.jsonl": folder.metrics,
        "manifest.json": lambda: read_manifest(checkpoint),
        "provenance.json": lambda: folder.add_session({}),
    }[name]
    refused = 0
    for _ in range(number):
        data = hostile(rng, valid)
        path.write_bytes(data)
        try:
            read()
        except ValueError as error:
            refused += 1
            assert str(path) in str(error) or "not as written" in str(error), data
            assert "\n" not in str(error), (data, error)
            assert path.read_bytes() == data
    assert refused > number / 4
    folder.close()
