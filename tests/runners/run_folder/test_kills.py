"""A kill at any call of the file system leaves a whole policy and whole checkpoints for the next start."""

import builtins
import io
import itertools
import json
import os
import threading
from contextlib import contextmanager, suppress
from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from runners.run_folder.folder import RunFolder
from runners.support.atomic import clean, replacing

CALLS = [(os, name) for name in ("open", "mkdir", "rename", "replace", "unlink", "rmdir", "fsync")]
CALLS += [(io, "open"), (builtins, "open")]


class Killed(BaseException):
    """The process is no more."""


@contextmanager
def killed_at(number):
    """Kills at the `number`-th call of this thread: from then on none comes through. Yields the calls made."""
    thread, made = threading.get_ident(), []

    def mortal(name, call):
        def counted(*arguments, **options):
            if threading.get_ident() == thread:
                made.append(name)
                if len(made) >= number:
                    raise Killed(name)
            return call(*arguments, **options)

        return counted

    with pytest.MonkeyPatch.context() as patch:
        for module, name in CALLS:
            patch.setattr(module, name, mortal(name, getattr(module, name)))
        with suppress(Killed):
            yield made


def write_policy(folder, *, value):
    for name in ("config.json", "tokenizer_config.json"):
        (folder / name).write_text(str(value))
    save_file({"weight": np.full(3, value, np.float32)}, folder / "model.safetensors")


def write_checkpoint(folder, *, value):
    (folder / "learner").mkdir()
    for name in ("state", "learner/state"):
        (folder / name).write_text(str(value))


def content(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def expected(write, folder):
    folder.mkdir()
    write(folder)
    return content(folder)


def survivors(tmp_path, save, target):
    """Yields what is in `target` after `save(folder, 1)`, a kill within `save(folder, 2)`, and the next start."""
    for number in itertools.count(1):
        path = tmp_path / f"killed-at-{number}"
        folder = RunFolder(path)
        save(folder, 1)
        with killed_at(number) as made:
            save(folder, 2)
        folder.close()
        RunFolder(path).close()
        where = f"killed at call {number}, {made[:number][-1]}"
        assert not list(path.rglob(".*")), where
        yield content(path / target), where
        if len(made) < number:
            assert number > 15, made
            return


def test_a_policy_that_is_replaced(tmp_path):
    def save_value(folder, value):
        folder.save_policy(partial(write_policy, value=value))

    old, new = (expected(partial(write_policy, value=v), tmp_path / f"expected-{v}") for v in (1, 2))
    found = list(survivors(tmp_path, save_value, "policy"))
    for files, where in found:
        assert files in (old, new), where
    assert found[0][0] == old and found[-1][0] == new


def test_a_checkpoint_that_is_replaced_is_what_its_manifest_says(tmp_path):
    def save_value(folder, value):
        write = partial(write_checkpoint, value=value)
        folder.save_checkpoint(5, write, partial(write_policy, value=value), config={"value": value}, keep=2)

    found = list(survivors(tmp_path, save_value, "checkpoints/step_000005"))
    assert found[0][0]["state"] == b"1" and found[-1][0]["state"] == b"2"
    for files, where in found:
        manifest = json.loads(files.pop("manifest.json"))
        assert manifest["files"] == {name: sha256(data).hexdigest() for name, data in files.items()}, where
        assert files["state"] == str(manifest["config"]["value"]).encode(), where


def test_the_next_start_may_be_killed_too(tmp_path):
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "file").write_text("old")
    with killed_at(100) as made, replacing(tmp_path / "policy") as staging:
        staging.mkdir()
        (staging / "file").write_text("new")
        (tmp_path / "policy").rename(tmp_path / ".replaced-policy")  # as a kill between the two moves leaves it
        raise Killed
    assert made
    for number in itertools.count(1):
        with killed_at(number) as made:
            clean(tmp_path)
        if len(made) < number:
            break
    assert content(tmp_path) == {"policy/file": b"old"}


def test_a_move_that_fails_puts_the_old_folder_back_at_once(tmp_path, monkeypatch):
    target = tmp_path / "policy"
    target.mkdir()
    (target / "file").write_text("old")
    rename = os.rename

    def fails_once(source, destination):
        if Path(source).name.startswith(".staging-"):
            raise OSError(5, "Input/output error")
        rename(source, destination)

    monkeypatch.setattr(os, "rename", fails_once)
    with pytest.raises(OSError, match="Input/output"), replacing(target) as staging:
        staging.mkdir()
        (staging / "file").write_text("new")
    assert content(tmp_path) == {"policy/file": b"old"}
