"""What trackers are told, read back; and that none can stop a run."""

import builtins
import json
import re
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runners.run_settings import RunSettings
from runners.tracking.trackers import Trackers, find_trackers

ROWS = [{"step": 0, "eval_accuracy": 0.25}, {"step": 1, "reward_mean": 0.5, "loss": -0.125}]
SAMPLES = [{"step": 0, "prompt": "2 + 3?", "completion": "#### 5", "reward": 1.0, "correct": True}]
SETTINGS = {"preset": "tiny", "training": {"lr": 1e-4}}
MANY = {f"option_{number}": number for number in range(150)}


@pytest.fixture
def told(tmp_path):
    """Tells trackers of a run, stopped and resumed, what a run tells them."""
    said = []

    def tell(report_to, *, steps=((0,), (1,))):
        folder = tmp_path / "runs" / "mine"
        folder.mkdir(parents=True, exist_ok=True)
        for part in steps:
            with Trackers(folder, SETTINGS, report_to, said.append) as trackers:
                for step in part:
                    trackers.log(ROWS[step])
                    if step == 0:
                        trackers.log_completions(SAMPLES)
        return folder, said

    return tell


def test_tensorboard(told):
    from tensorboardX.proto.event_pb2 import Event

    told("tensorboard", steps=((0,),))
    time.sleep(1.1)  # a file's name has the second
    folder, said = told("tensorboard", steps=((1,),))
    found = {}
    for path in sorted((folder / "tensorboard").iterdir()):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            event = Event.FromString(data[12 : 12 + length])
            found |= {(value.tag, event.step): value.simple_value for value in event.summary.value}
            data = data[12 + length + 4 :]
    assert found == {("eval_accuracy", 0): 0.25, ("reward_mean", 1): 0.5, ("loss", 1): -0.125}
    assert said == []


def test_mlflow(told, monkeypatch):
    pytest.importorskip("mlflow")
    from mlflow.tracking import MlflowClient

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    folder, said = told("mlflow")
    assert said == []
    client = MlflowClient(f"sqlite:///{folder.parent}/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("gsm8k-env").experiment_id])
    assert run.info.run_id == json.loads((folder / "trackers.json").read_text())["mlflow"]
    assert (run.info.run_name, run.info.status) == ("mine", "FINISHED")
    assert run.data.params == {"preset": "tiny", "training.lr": "0.0001"}
    for row in ROWS:
        for name in row.keys() - {"step"}:
            (metric,) = client.get_metric_history(run.info.run_id, name)
            assert (metric.step, metric.value) == (row["step"], row[name])
    (table,) = client.list_artifacts(run.info.run_id, "completions")
    written = json.loads(Path(client.download_artifacts(run.info.run_id, table.path)).read_text())
    assert written == {"columns": list(SAMPLES[0]), "data": [list(SAMPLES[0].values())]}


def records_of(log: bytes) -> Iterator[bytes]:
    """W&B's file is LevelDB's log behind 7 bytes: blocks of 32 KiB, of chunks with checksum, length and place."""
    record, position, block = b"", 7, 32768
    while position + 7 <= len(log):
        left = block - position % block
        if left < 7:
            position += left
            continue
        length, place = struct.unpack("<HB", log[position + 4 : position + 7])
        record += log[position + 7 : position + 7 + length]
        position += 7 + length
        if place in (1, 4):  # whole, or the last of several
            yield record
            record = b""


def test_wandb(told, monkeypatch):
    pytest.importorskip("wandb")
    from wandb.proto.wandb_internal_pb2 import Record

    monkeypatch.setenv("WANDB_MODE", "offline")
    folder, said = told("wandb")
    assert said == []
    rows, runs = [], []
    for path in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        for data in records_of(path.read_bytes()):
            record = Record.FromString(data)
            if record.WhichOneof("record_type") == "history":
                items = {item.key or ".".join(item.nested_key): item.value_json for item in record.history.item}
                rows.append({key: json.loads(value) for key, value in items.items() if not key.startswith("_")})
            if record.WhichOneof("record_type") == "run":
                runs.append(record.run)
    assert {(run.run_id, run.display_name, run.project) for run in runs} == {
        (json.loads((folder / "trackers.json").read_text())["wandb"], "mine", "gsm8k-env")
    }
    config = {update.key: json.loads(update.value_json) for update in runs[0].config.update}
    assert config["training"] == {"lr": 1e-4}
    table = "completions.path"
    assert [row for row in rows if table not in row] == ROWS
    ((step, path),) = [(row["step"], row[table]) for row in rows if table in row]
    (media,) = folder.glob(f"wandb/offline-run-*/files/{path}")
    assert step == 0
    assert json.loads(media.read_text()) == {"columns": list(SAMPLES[0]), "data": [list(SAMPLES[0].values())]}


def test_mlflow_gets_every_setting(tmp_path, monkeypatch):
    pytest.importorskip("mlflow")
    from mlflow.tracking import MlflowClient

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with Trackers(tmp_path, {"env_options": MANY}, "mlflow", pytest.fail):
        pass
    ids = json.loads((tmp_path / "trackers.json").read_text())
    run = MlflowClient(f"sqlite:///{tmp_path.parent}/mlflow.db").get_run(ids["mlflow"])
    assert run.data.params == {f"env_options.{name}": str(value) for name, value in MANY.items()}


class Broken:
    """Raises at its second row."""

    id = "kept"
    rows = []  # noqa: RUF012

    def __init__(self, run):
        self.rows.clear()

    def log(self, row):
        if self.rows:
            raise ConnectionError("the server is gone")
        self.rows.append(row)

    def log_completions(self, rows):
        pass

    def close(self, *, ok):
        raise AssertionError("it was left out")


def test_one_that_fails_is_left_out(told):
    folder, said = told(f"{__name__}:Broken,tensorboard", steps=((0, 1),))
    assert said == [
        f"note: {__name__}:Broken failed, and the run goes on without it: ConnectionError: the server is gone"
    ]
    assert Broken.rows == ROWS[:1]
    assert json.loads((folder / "trackers.json").read_text()) == {f"{__name__}:Broken": "kept"}
    assert any((folder / "tensorboard").iterdir())


def test_one_that_cannot_begin_is_left_out(told, monkeypatch):
    monkeypatch.setattr(Broken, "__init__", lambda self, run: 1 / 0)
    _, said = told(f"{__name__}:Broken")
    assert (
        said
        == [f"note: {__name__}:Broken failed, and the run goes on without it: ZeroDivisionError: division by zero"] * 2
    )


class Told:
    """One class is a tracker."""

    id = None
    calls = []  # noqa: RUF012

    def __init__(self, run):
        self.calls.append(("run", run.folder.name, run.settings["preset"], run.id))

    def log(self, row):
        self.calls.append(("row", row["step"]))

    def log_completions(self, rows):
        self.calls.append(("completions", len(rows)))

    def close(self, *, ok):
        self.calls.append(("close", ok))


def test_one_of_the_users_own(told, tmp_path):
    Told.calls.clear()
    told(f"{__name__}:Told", steps=((0,),))
    assert Told.calls == [("run", "mine", "tiny", None), ("row", 0), ("completions", 1), ("close", True)]
    with pytest.raises(KeyError), Trackers(tmp_path, SETTINGS, f"{__name__}:Told", print):
        raise KeyError
    assert Told.calls[-1] == ("close", False)


@pytest.mark.parametrize("text", ["", "wandbb", "wandb,", "wandb tensorboard"])
def test_names_that_are_none(text):
    with pytest.raises(ValueError, match=f"report_to={text!r}, but it must be a text such as"):
        RunSettings(report_to=text)


@pytest.mark.parametrize(
    ("name", "message"),
    [("json:Nothing", "json has no class 'Nothing'"), ("no_such_module:X", "it cannot be imported. No module named")],
)
def test_one_that_is_not_there_is_named(name, message):
    with pytest.raises(ValueError, match=message):
        find_trackers(name)


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_one_that_is_not_installed_says_how_to(name, monkeypatch):
    imported = builtins.__import__

    def without(module, *arguments, **options):
        if module.partition(".")[0] == name:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return imported(module, *arguments, **options)

    monkeypatch.delitem(sys.modules, f"runners.tracking.{name}", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ValueError, match=rf"it cannot be imported. pip install 'gsm8k-env\[{name}\]'"):
        find_trackers(name)


def test_the_class_of_the_page(told, tmp_path, monkeypatch):
    page = (Path(__file__).parents[3] / "docs" / "trackers.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    (tmp_path / "my_lines.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    folder, said = told("my_lines:Lines")
    assert (folder / "lines.txt").read_text() == "0 None\n#### 5\n1 0.5\n" and said == []


def test_none():
    assert find_trackers("none") == {}
