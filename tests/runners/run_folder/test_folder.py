import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from runners.run_folder.folder import RunFolder
from runners.run_folder.metrics import METRICS, markdown_table, metrics_row
from runners.run_folder.plot import plot_learning_curve

METRICS_PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"


@pytest.fixture
def folder(tmp_path):
    folder = RunFolder(tmp_path / "run")
    yield folder
    folder.close()


def checkpoint_names(folder):
    return sorted(path.name for path in (folder.path / "checkpoints").iterdir())


def test_config_round_trip(folder):
    assert not folder.has_run()
    folder.write_config({"seed": 1, "training": {"lr": 1e-4}})
    assert folder.has_run()
    assert folder.read_config() == {"seed": 1, "training": {"lr": 1e-4}}


def test_metrics_are_appended_and_a_cut_last_line_is_left_out(folder):
    folder.log({"step": 1, "loss": 0.5})
    folder.log({"step": 2, "loss": 0.25})
    with (folder.path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3, "lo')
    assert folder.metrics() == [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.25}]


def test_rewind_drops_what_will_be_done_again(folder):
    for step in (1, 2, 3):
        folder.log({"step": step})
        folder.log_samples([{"step": step, "completion": "é"}])
    folder.rewind(2)
    assert [row["step"] for row in folder.metrics()] == [1, 2]
    samples = [json.loads(line) for line in (folder.path / "samples.jsonl").read_text().splitlines()]
    assert samples == [{"step": 1, "completion": "é"}, {"step": 2, "completion": "é"}]


def test_the_last_two_checkpoints_are_kept(folder):
    for step in (5, 10, 15):
        folder.save_checkpoint(step, lambda path, step=step: (path / "state").write_text(str(step)))
    assert checkpoint_names(folder) == ["step_000010", "step_000015"]
    path, step = folder.latest_checkpoint()
    assert (step, (path / "state").read_text()) == (15, "15")


def test_a_failed_checkpoint_leaves_the_last_good_one(folder):
    folder.save_checkpoint(5, lambda path: (path / "state").write_text("good"))

    def disk_full(path):
        (path / "state").write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        folder.save_checkpoint(10, disk_full)
    assert checkpoint_names(folder) == ["step_000005"]
    assert folder.latest_checkpoint()[1] == 5


def test_what_a_kill_left_behind_is_removed_at_the_next_start(folder):
    left = folder.path / "checkpoints" / ".staging-step_000010"
    left.mkdir()
    (left / "state").write_text("half")
    RunFolder(folder.path).close()
    assert checkpoint_names(folder) == []


def write_policy(folder, *, text="1", shards=()):
    for name in ("config.json", "tokenizer_config.json"):
        (folder / name).write_text(text)
    for name in shards or ["model.safetensors"]:
        save_file({"weight": np.zeros(100, np.float32)}, folder / name)
    if shards:
        index = {"weight_map": {f"weight{i}": name for i, name in enumerate(shards)}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def test_a_policy_is_replaced_as_a_whole(folder):
    folder.save_policy(lambda path: write_policy(path, shards=["a.safetensors", "b.safetensors"]))
    folder.save_policy(lambda path: write_policy(path, text="2"))
    files = {path.name: path for path in (folder.path / "policy").iterdir()}
    assert sorted(files) == ["config.json", "model.safetensors", "tokenizer_config.json"]
    assert files["config.json"].read_text() == "2"


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (shutil.rmtree, "config.json, tokenizer_config.json, model.safetensors missing or cut short, found nothing"),
        (lambda path: (path / "tokenizer_config.json").unlink(), "tokenizer_config.json missing"),
        (lambda path: (path / "config.json").write_text(""), "config.json missing or cut short"),
        (lambda path: cut(path / "model.safetensors"), "model.safetensors missing or cut short"),
        (lambda path: (path / "model.safetensors").write_bytes(b"junk"), "model.safetensors missing or cut short"),
    ],
)
def test_a_policy_that_did_not_arrive_whole_is_an_error_and_the_old_one_stays(folder, spoil, named):
    folder.save_policy(write_policy)

    def save(path):
        write_policy(path, text="2")
        spoil(path)
        path.mkdir(exist_ok=True)

    with pytest.raises(OSError, match=f"not written whole to {folder.path / 'policy'}: {named}"):
        folder.save_policy(save)
    assert (folder.path / "policy" / "config.json").read_text() == "1"


def test_every_file_of_a_split_model_is_looked_at(folder):
    def save(path):
        write_policy(path, shards=["a.safetensors", "b.safetensors"])
        (path / "b.safetensors").unlink()

    with pytest.raises(OSError, match=r": b\.safetensors missing"):
        folder.save_policy(save)


def test_metrics_row_takes_the_documented_names_only():
    result = {
        "rollouts": {"reward_mean": 0.5, "undocumented": 1.0},
        "learners": {"default_policy": {"loss": 0.1}},
        "evaluation": {"greedy": {"accuracy": 0.25}, "sampled": {"accuracy": 0.125}},
    }
    assert metrics_row(result, 3) == {
        "step": 3,
        "reward_mean": 0.5,
        "loss": 0.1,
        "eval_accuracy": 0.25,
        "eval_sampled_accuracy": 0.125,
    }


def test_every_metric_has_a_sentence():
    assert all(meaning.endswith(".") for _, meaning in METRICS.values())
    assert markdown_table().count("\n") == len(METRICS) + 1


def test_the_picture_is_a_png(tmp_path):
    rows = [
        {"step": 0, "eval_accuracy": 0.1, "eval_standard_error": 0.02},
        {"step": 1, "reward_mean": 0.2},
        {"step": 2, "reward_mean": 0.3, "eval_accuracy": 0.4, "eval_standard_error": 0.03},
    ]
    plot_learning_curve(rows, tmp_path / "curve.png", "a run")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_the_page_of_metrics_is_up_to_date():
    assert METRICS_PAGE.read_text() == f"# Metrics of a step\n\n{markdown_table()}\n"
