"""What a run cannot change on its way, and what may lie elsewhere."""

import copy

import pytest

from runners.run_folder.differences import _FREE, differences
from runners.settings import AGENT_NOUNS, TRAINING_NOUNS
from runners.support.settings import fields_of

RUN = {
    "preset": "tiny",
    "seed": 0,
    "environment": "E-v0",
    "env_options": {"dataset": "/here", "level": 1},
    "eval_env_options": {"dataset": "/here", "split": "test"},
    "run": {"steps": 3},
    "agents": {"policy_model": "/here", "engine_options": {}},
    "training": {"lr": 0.1, "adam_betas": (0.9, 0.95), "max_logits": 9},
    "resources": {"num_learners": 0},
    "fingerprints": {"train": "1", "eval": "2", "model": "3"},
}


def changed(section, **values):
    other = copy.deepcopy(RUN)
    other[section].update(values)
    return other


def found(began, now):
    return [clause.partition(" is ")[0] for clause in differences(began, now, frozenset({"dataset"}))]


@pytest.mark.parametrize(
    ("now", "names"),
    [
        (RUN, []),
        (changed("run", steps=5), []),
        (changed("resources", num_learners=2), []),
        (changed("training", max_logits=8), []),
        (changed("training", adam_betas=[0.9, 0.95]), []),  # as JSON has it
        (changed("training", lr=0.2), ["lr"]),
        (changed("env_options", dataset="/there"), []),
        (changed("eval_env_options", dataset="/there"), []),
        (changed("env_options", level=2), ["env_options.level"]),
        (changed("agents", policy_model="/there", engine_options={"url": "x"}), []),
        (changed("fingerprints", train="4"), ["sha256 of the training problems"]),
        (changed("fingerprints", eval="4"), ["sha256 of the evaluation's problems"]),
        (changed("fingerprints", model=None), ["sha256 of the model"]),
        (RUN | {"seed": 1, "preset": "mine"}, ["preset", "seed"]),
    ],
)
def test_names(now, names):
    assert found(RUN, now) == names


def test_what_has_no_fingerprint_may_not_lie_elsewhere():
    nothing = {"train": None, "eval": None, "model": None}
    now = changed("env_options", dataset="/there") | {"fingerprints": nothing}
    now["agents"]["policy_model"] = "/there"
    assert found(RUN | {"fingerprints": nothing}, now) == ["--model", "--dataset"]


def test_what_is_free_are_settings():
    assert _FREE["agents"] <= fields_of(AGENT_NOUNS).keys()
    assert _FREE["training"] <= fields_of(TRAINING_NOUNS).keys()
