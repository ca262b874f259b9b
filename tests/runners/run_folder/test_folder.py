import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from runners.run_folder.folder import RunFolder
from runners.run_folder.metrics import METRICS, markdown_table, metrics_row
from runners.run_folder.plot import plot_learning_curve
from runners.run_folder.read_back import check_policy

METRICS_PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"


@pytest.fixture
def folder(tmp_path):
    folder = RunFolder(tmp_path / "run")
    yield folder
    folder.close()


def save(folder, step, *, state=None, keep=2):
    """A checkpoint whose state is its step."""
    state = state or (lambda path: (path / "state").write_text(str(step)))
    folder.save_checkpoint(step, state, write_policy, config=CONFIG, keep=keep)


def checkpoint_names(folder):
    return sorted(path.name for path in (folder.path / "checkpoints").iterdir())


SECTIONS = ("env_options", "eval_env_options", "run", "agents", "resources", "fingerprints")
CONFIG = {
    "trainer": "grpo",
    "preset": "tiny",
    "seed": 1,
    "environment": "E-v0",
    "training": {"lr": 1e-4},
    **{s: {} for s in SECTIONS},
}


@pytest.mark.parametrize("trainer", ["grpo", "sft"])
def test_config_round_trip(folder, trainer):
    folder.write_config({**CONFIG, "trainer": trainer})
    assert folder.read_config() == {**CONFIG, "trainer": trainer}


def test_a_folder_that_names_no_trainer_is_grpos(folder):
    folder.write_config(CONFIG)
    assert folder.read_config() == {**CONFIG, "trainer": "grpo"}


def test_a_run_that_logged_nothing_leaves_its_name_free(folder):
    folder.write_config(CONFIG)
    assert not folder.has_run()
    folder.log({"step": 0})
    assert folder.has_run()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds NoneType, but it must hold sections: format"),
        ("- a", "holds list"),
        ("{", "is not YAML"),
        ("format: 1\nsed: 0", r"has \['sed'\]; its sections may be: format, preset, seed"),
        ("format: 1\nrun: 3", "has run: 3, but it must be NAME: VALUE pairs"),
        ("preset: tiny", "is of format None, and this version reads format 1 alone"),
        ("format: 2", "is of format 2"),
        ("format: 1", "lacks preset, seed, environment"),
        ("!!int ''", "is not YAML"),
    ],
)
def test_a_config_that_is_none_is_one_sentence(folder, text, message):
    (folder.path / "config.yaml").write_text(text)
    with pytest.raises(ValueError, match=rf"config\.yaml.*{message}"):
        folder.read_config()


@pytest.mark.parametrize("name", ["metrics.jsonl", "samples.jsonl", "rollouts.jsonl"])
@pytest.mark.parametrize("line", ["{\n", "[1]\n", '{"loss": 1}\n', "\xff\n"])
def test_a_broken_line_is_named_and_nothing_is_dropped(folder, name, line):
    for step in (1, 2):
        folder.log({"step": step})
        folder.log_samples([{"step": step}])
        folder.log_rollouts([{"step": step}])
    path = folder.path / name
    path.write_text('{"step": 1}\n' + line + '{"step": 2}\n', encoding="latin-1")
    before = {path: path.read_bytes() for path in folder.path.glob("*.jsonl")}
    with pytest.raises(ValueError, match=rf"{name}, line 2, cannot be read .*: mend or remove that line"):
        folder.rewind(1)
    assert {path: path.read_bytes() for path in folder.path.glob("*.jsonl")} == before


def test_a_second_process_waits_outside(folder):
    with pytest.raises(BlockingIOError, match=rf"{folder.path} is in use by process \d+ of "):
        RunFolder(folder.path)
    folder.close()
    RunFolder(folder.path).close()


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
        save(folder, step)
    assert checkpoint_names(folder) == ["step_000010", "step_000015"]
    found, broken = folder.whole_checkpoint()
    assert (found.step, (found.path / "state").read_text(), found.config, broken) == (15, "15", CONFIG, [])
    assert check_policy(found.path / "policy", found.path) is None


def truncate(path):
    (path / "state").write_text("")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (truncate, "not as written: state"),
        (lambda path: (path / "state").unlink(), "not as written: state"),
        (lambda path: (path / "more").write_text("x"), "not as written: more"),
        (lambda path: (path / "policy/config.json").write_text("x"), "not as written: policy/config.json"),
        (lambda path: (path / "manifest.json").unlink(), "manifest.json cannot be read"),
        (lambda path: (path / "manifest.json").write_text("[" * 100_000), "manifest.json cannot be read"),
        (lambda path: (path / "manifest.json").write_text('{"files": {}}'), "is of format None"),
        (lambda path: (path / "manifest.json").write_text('{"files": {}, "format": 2}'), "is of format 2"),
    ],
)
def test_the_newest_whole_checkpoint_is_taken_and_the_broken_one_named(folder, spoil, said):
    for step in (5, 10):
        save(folder, step)
    spoil(folder.path / "checkpoints" / "step_000010")
    found, (broken,) = folder.whole_checkpoint()
    assert found.step == 5
    assert f"{folder.path}/checkpoints/step_000010 is broken" in broken and said in broken


def test_what_is_no_checkpoint_is_let_be(folder):
    for step in (999_999, 1_000_000):
        save(folder, step, keep=1)
    for name in ("step_000012.bak", "step_12", "notes"):
        (folder.path / "checkpoints" / name).mkdir()
    (folder.path / "checkpoints" / "step_000013").write_text("a file")
    save(folder, 1_000_001, keep=1)
    assert folder.newest_checkpoint().name == "step_1000001"
    assert checkpoint_names(folder) == ["notes", "step_000012.bak", "step_000013", "step_1000001", "step_12"]


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.write_text("a file"),
        lambda path: path.symlink_to("gone"),
        lambda path: path.symlink_to("notes"),
    ],
)
def test_a_checkpoint_takes_the_place_of_a_file_or_a_link(folder, make):
    notes = folder.path / "checkpoints" / "notes"
    notes.mkdir()
    (notes / "mine").write_text("")
    make(folder.path / "checkpoints" / "step_000005")
    save(folder, 5)
    assert folder.whole_checkpoint()[0].step == 5
    assert checkpoint_names(folder) == ["notes", "step_000005"] and (notes / "mine").exists()


def test_a_broken_checkpoint_of_a_later_step_does_not_take_the_place_of_a_whole_one(folder):
    (folder.path / "checkpoints" / "step_000009").mkdir()
    for step in (3, 4):
        save(folder, step, keep=1)
    assert folder.whole_checkpoint()[0].step == 4
    assert checkpoint_names(folder) == ["step_000004", "step_000009"]


def test_a_full_disk_names_the_path(folder):
    def full(path):
        raise OSError(28, "No space left on device")

    for save_full in (lambda: folder.save_policy(full), lambda: save(folder, 5, state=full)):
        with pytest.raises(OSError, match=f"No space left on device: '{folder.path}/(policy|checkpoints/step_000005)'"):
            save_full()
    (folder.path / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(OSError, match=rf"No space left on device: '{folder.path}/metrics\.jsonl'"):
        folder.log({"step": 1})


def test_every_session_is_kept(folder):
    for number in (1, 2):
        folder.add_session({"command": str(number)})
    found = json.loads((folder.path / "provenance.json").read_text())
    assert found == {"sessions": [{"command": "1"}, {"command": "2"}]}


def test_a_failed_checkpoint_leaves_the_last_good_one(folder):
    save(folder, 5)

    def disk_full(path):
        (path / "state").write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        save(folder, 10, state=disk_full)
    assert checkpoint_names(folder) == ["step_000005"]
    assert folder.whole_checkpoint()[0].step == 5


def test_what_a_kill_left_behind_is_removed_at_the_next_start(folder):
    left = folder.path / "checkpoints" / ".staging-step_000010"
    left.mkdir()
    (left / "state").write_text("half")
    folder.close()
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
    assert METRICS_PAGE.read_text().startswith(f"# Metrics of a step\n\n{markdown_table()}\n\n")


def test_numbers_of_the_environment_are_in_the_row():
    result = {"rollouts": {"info_tools": 2, "other": 1}, "evaluation": {"greedy": {"info_tools": 3, "x": 1}}}
    assert metrics_row(result, 3) == {"step": 3, "info_tools": 2.0, "eval_info_tools": 3.0}


def test_best_stays_until_a_better_one(folder):
    for step, accuracy in ((2, 0.5), (4, 0.4), (6, 0.5), (8, 0.6)):
        row = {"step": step, "eval_accuracy": accuracy}
        folder.save_best(row, lambda path, step=step: write_policy(path, text=str(step)))
        best = 2 if step < 8 else 8
        assert (folder.path / "best" / "config.json").read_text() == str(best)
        assert json.loads((folder.path / "best" / "evaluation.json").read_text())["step"] == best
