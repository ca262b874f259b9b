"""The learner's weights reach every engine, by each path, over engines that die, and around engines that sleep."""

import glob
import os

import pytest
import torch

import agents
from agents import registry
from agents.weight_sources import Arrays
from runners.rllib import settings_check
from runners.rllib.env_runner import TextEnvRunner
from runners.rllib.stored_weights import store
from runners.run_folder.metrics import metrics_row
from runners.weights import link
from runners.weights.paths import EnginePlace, choose_path
from runners.weights.sender import LearnerPlace
from tests.runners.rllib.conftest import agent_of, small_config

OWNED = "tests.agents.owned_transformers:OwnedTransformersAgent"


@pytest.fixture
def owned(monkeypatch):
    """Registers transformers in a process of its own."""
    monkeypatch.setattr(registry, "_registered", {})
    agents.register("owned", OWNED)


class RegisteringEnvRunner(TextEnvRunner):
    """Registers it in the env runner's own process."""

    def __init__(self, **kwargs):
        agents.register("owned", OWNED)
        super().__init__(**kwargs)


def config(**settings):
    return small_config().agents(engine="owned", sync_check_bound=1e-4, **settings)


def engine_calls(algo):
    return agent_of(algo).calls


class TestPaths:
    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("path", "call"),
        [
            ("object_store", "load_weights WeightsFile"),
            ("ipc", "load_weights Handles"),
            ("collective", "load_weights Broadcast"),
        ],
    )
    def test_the_engine_has_the_learners_weights(self, build, owned, path, call):
        # That engine and learner agree after each sync, sync_check_bound sees to.
        algo = build(config(weight_transfer=path))
        engine_calls(algo).clear()
        rows = [metrics_row(algo.train(), step) for step in (1, 2)]
        assert algo.link.path == path
        assert engine_calls(algo).count(call) == 2
        # The first sync was that of the build: one group serves all three.
        groups = agent_of(algo).groups
        assert [groups.count(name) for name in set(groups)] == ([3] if path == "collective" else [])
        assert [row["policy_version"] for row in rows] == [1, 2]
        assert rows[1]["rollout_logprob_diff_mean"] < 1e-5

    @pytest.mark.slow
    @pytest.mark.parametrize("path", ["ipc", "collective"])
    def test_engines_and_learners_in_other_processes(self, build, owned, path):
        distributed = config(weight_transfer=path).env_runners(num_env_runners=2)
        distributed.env_runners(env_runner_cls=RegisteringEnvRunner).learners(num_learners=2)
        algo = build(distributed)
        rows = [metrics_row(algo.train(), step) for step in (1, 2)]
        assert rows[1]["policy_version"] == 2
        assert rows[1]["rollout_logprob_diff_mean"] < 1e-5

    @pytest.mark.slow
    def test_stopping_leaves_no_shared_memory(self, build, owned):
        before = set(glob.glob(f"/dev/shm/torch_{os.getpid()}_*"))
        algo = build(config(weight_transfer="ipc").learners(num_learners=1))
        learner = algo.learners.ask(lambda learner: os.getpid())
        assert glob.glob(f"/dev/shm/torch_{learner}_*")
        algo.stop()
        assert glob.glob(f"/dev/shm/torch_{learner}_*") == []
        # This process may hold what tests before this one share.
        assert set(glob.glob(f"/dev/shm/torch_{os.getpid()}_*")) <= before

    @pytest.mark.slow
    @pytest.mark.parametrize("path", ["object_store", "ipc", "collective"])
    def test_an_engine_that_dies_while_taking_weights_is_restarted(self, build, owned, tmp_path, caplog, path):
        die_at = tmp_path / "die"
        algo = build(config(weight_transfer=path, engine_options={"die_at": str(die_at)}, sync_timeout_s=30.0))
        first = engine_process(algo)
        die_at.touch()
        row = metrics_row(algo.train(), 1)
        assert engine_process(algo) != first
        assert row["policy_version"] == 1
        assert f"weight delivery by {path} failed (attempt 1 of 3)" in caplog.text
        assert metrics_row(algo.train(), 2)["rollout_logprob_diff_mean"] < 1e-5

    @pytest.mark.slow
    def test_an_engine_that_goes_on_failing_stops_the_run(self, build, owned, monkeypatch):
        algo = build(config(weight_transfer="ipc"))
        agent = agent_of(algo)

        def fail(source, policy_version):
            raise agents.EngineError("broken")

        monkeypatch.setattr(agent.backend, "load_weights", fail)
        with pytest.raises(RuntimeError, match="did not reach every engine in 3 attempts by 'ipc'"):
            algo.train()

    def test_the_default_on_a_cpu(self, build):
        assert build(small_config()).link.path == "object_store"

    def test_an_agent_in_the_learners_own_process_takes_handles(self, build):
        algo = build(small_config().agents(weight_transfer="ipc", sync_check_bound=1e-4))
        assert metrics_row(algo.train(), 1)["policy_version"] == 1

    def test_a_path_that_the_agent_lacks(self, build):
        with pytest.raises(ValueError, match="engine 'transformers' here: its agent takes 'object_store', 'ipc'"):
            build(small_config().agents(weight_transfer="collective"))

    @pytest.mark.slow
    def test_an_engine_says_how_many_processes_hold_its_model_before_a_path_is_chosen(self, build, owned, monkeypatch):
        seen = []

        def choose(setting, learner, engines, engine):
            seen.extend(engine.num_workers for engine in engines)
            return choose_path(setting, learner, engines, engine)

        monkeypatch.setattr(link, "choose_path", choose)
        build(config(engine_options={"num_workers": 2}))
        assert seen == [2]

    def test_arrays_reach_the_agent_without_a_copy_but_the_stores(self, build, monkeypatch):
        runner = build(small_config()).env_runner_group.local_env_runner
        arrays = {name: parameter.detach().numpy() for name, parameter in runner.agent.model.named_parameters()}
        given = []
        monkeypatch.setattr(
            runner.agent,
            "load_weights",
            lambda source, version: given.append({name: tensor.data_ptr() for name, tensor in source.tensors()}),
        )
        here = Arrays.of(arrays.items())
        runner.receiver.load(here, 7)
        assert given.pop() == {name: array.ctypes.data for name, array in arrays.items()}
        stored = store(here)
        runner.receiver.load(stored, 7)
        runner.receiver.load(stored, 7)
        assert given[0].keys() == arrays.keys() and given[0] == given[1]  # the same memory each time: the store's

    def test_an_unknown_path(self, build):
        with pytest.raises(ValueError, match="weight_transfer='nccl', but it must be one of 'auto'"):
            build(small_config().agents(weight_transfer="nccl"))


class TestTheCheck:
    """That an engine has the learner's weights, and not those of the update before."""

    @pytest.mark.parametrize("lr", [1e-6, 1e-5])
    def test_an_engine_that_is_an_update_behind_is_found_at_the_first_update(self, build, monkeypatch, lr):
        algo = build(small_config(lr=lr))
        hold_back(agent_of(algo), monkeypatch)
        with pytest.raises(RuntimeError, match=r"policy version 1, engine 'transformers' of env runner 0 does not run"):
            algo.train()

    def test_an_engine_that_falls_behind_later_is_found_then(self, build, monkeypatch):
        algo = build(small_config(lr=1e-6))
        algo.train()
        hold_back(agent_of(algo), monkeypatch)
        with pytest.raises(RuntimeError, match=r"policy version 2, .* log-probs moved .* times as far"):
            algo.train()

    @pytest.mark.slow
    def test_the_env_runner_is_named(self, build):
        algo = build(small_config(lr=1e-6).env_runners(num_env_runners=2, env_runner_cls=SecondFallsBehind))
        with pytest.raises(RuntimeError, match="of env runner 2 does not run the learner's weights"):
            algo.train()

    @pytest.mark.parametrize("training", [{"max_tokens": 1}, {"max_tokens": 3}, {"lr": 0.0}, {"num_prompts": 1}])
    def test_an_engine_that_has_them_passes(self, build, training):
        algo = build(small_config(**training))
        for _ in range(2):
            algo.train()

    def test_it_can_be_left_out(self, build, monkeypatch):
        algo = build(small_config().agents(sync_check_bound=None))
        monkeypatch.setattr(agent_of(algo), "load_weights", lambda source, version: None)
        calls = []
        monkeypatch.setattr(algo.updaters, "ask", lambda call, ask=algo.updaters.ask: calls.append(call) or ask(call))
        assert algo.weight_check.before_update([], 0) is None
        algo.weight_check.after_delivery(1)
        assert calls == []

    @pytest.mark.slow
    @pytest.mark.parametrize("seed", range(2))
    def test_a_healthy_run_of_the_tiny_preset_passes(self, build, seed):
        tiny = small_config(num_prompts=32, group_size=8, minibatch_size=128, max_tokens=96, lr=1e-6 if seed else 1e-4)
        algo = build(tiny.debugging(seed=seed))
        for _ in range(10):
            algo.train()


class TestSleep:
    @pytest.mark.slow
    def test_the_engine_sleeps_while_the_learner_updates(self, build, owned, monkeypatch):
        monkeypatch.setattr(settings_check, "_engines_have_gpus", lambda config: True)
        algo = build(config(weight_transfer="ipc", sleep_during_update=True))
        engine_calls(algo).clear()
        update, order = algo.update, []

        def updated(*arguments):
            order.extend(engine_calls(algo))
            update(*arguments)

        monkeypatch.setattr(algo, "update", updated)
        algo.train()
        assert order == ["submit", "sleep"]
        taken = ["wake_up weights", "num_workers", "load_weights Handles", "wake_up kv_cache"]
        assert engine_calls(algo) == ["submit", "sleep", *taken, "submit"]

    def test_it_is_refused_without_a_gpu_before_any_work(self, build, monkeypatch):
        monkeypatch.setattr("torch.cuda.is_available", lambda: False)
        with pytest.raises(ValueError, match="sleep_during_update=True, but it must be False where the engines"):
            build(small_config().agents(sleep_during_update=True))

    @pytest.mark.parametrize("engine", ["vllm", "sglang"])
    def test_agents_refuse_it_without_a_gpu(self, engine, monkeypatch):
        monkeypatch.setattr("torch.cuda.is_available", lambda: False)
        with pytest.raises(ValueError, match=f"{engine} frees its memory on a GPU only"):
            agents.make(engine, enable_sleep_mode=True)
        with pytest.raises(ValueError, match=r"127.0.0.1:1 cannot be sent to sleep"):
            agents.make(engine, enable_sleep_mode=True, url="http://127.0.0.1:1")


def place(*gpus, node="a", remote=False, transfers=("ipc", "collective"), num_workers=1):
    return EnginePlace(node=node, gpus=gpus, remote=remote, transfers=transfers, num_workers=num_workers)


def learner(gpu):
    return LearnerPlace(node="a", address="10.0.0.1", gpu=gpu, specs=())


@pytest.mark.parametrize(
    ("gpu", "engines", "path"),
    [
        (None, [place()], "object_store"),
        ("0", [place("0")], "ipc"),
        ("0", [place("0", "1", num_workers=1)], "ipc"),
        ("0", [place("1")], "collective"),
        ("0", [place("1"), place("2", node="b")], "collective"),
        ("0", [place("1", "2", num_workers=2)], "collective"),
        # A mixture, an engine over several GPUs with the learner's among them, a server, arrays only, no GPU.
        ("0", [place("0"), place("1")], "object_store"),
        ("0", [place("0", "1", num_workers=2)], "object_store"),
        ("0", [place("1", remote=True)], "object_store"),
        ("0", [place("1", transfers=())], "object_store"),
        ("0", [place()], "object_store"),
    ],
)
def test_auto(gpu, engines, path):
    assert choose_path("auto", learner(gpu), engines, "vllm") == path


@pytest.mark.parametrize(
    ("setting", "gpu", "engine", "message"),
    [
        ("ipc", None, place(node="b"), "on several machines.*'collective'"),
        ("collective", "0", place("0"), "share a GPU, which NCCL refuses. Use 'ipc'"),
        ("collective", "0", place(), "is on a GPU and the other is not"),
        ("collective", None, place("0"), "is on a GPU and the other is not"),
        ("ipc", "0", place("0", transfers=()), "its agent takes 'object_store'"),
    ],
)
def test_paths_that_cannot_be_taken_name_the_mend(setting, gpu, engine, message):
    with pytest.raises(ValueError, match=f"weight_transfer='{setting}'.*engine 'vllm' here: .*{message}"):
        choose_path(setting, learner(gpu), [engine], "vllm")


def engine_process(algo):
    return agent_of(algo).backend.process.pid


def hold_back(agent, monkeypatch):
    """Has an agent take the weights that were delivered before, under the version of those delivered now."""
    load, held = agent.load_weights, [Arrays.of(copied(agent))]

    def load_before(source, version):
        held.append(Arrays.of((name, torch.as_tensor(tensor).clone().numpy()) for name, tensor in source.tensors()))
        load(held[-2], version)

    monkeypatch.setattr(agent, "load_weights", load_before)


def copied(agent):
    return [(name, parameter.detach().clone().numpy()) for name, parameter in agent.model.named_parameters()]


class SecondFallsBehind(TextEnvRunner):
    """The engine of the second env runner is an update behind."""

    def _start_engine(self):
        super()._start_engine()
        if self.worker_index == 2:
            hold_back(self.agent, pytest.MonkeyPatch())
