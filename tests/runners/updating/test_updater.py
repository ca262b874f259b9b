"""An update of a batch against the plain loops of tests/wiring/reference.py: no ray, no environment, no engine."""

import copy
import math
from statistics import mean

import numpy as np
import pytest
import torch

from runners.objectives.advantages import estimate_advantages
from runners.objectives.objective import ObjectiveConfig
from runners.sampling.rollout import Rollout
from runners.settings import CriticSettings, PolicySettings, UpdateSettings
from runners.updating import micro_batches, updater
from runners.updating.batch import BatchPlan, build_train_batch, padded_columns
from runners.updating.critic import CriticUpdater
from runners.updating.model import make_optimizers, make_reference, make_scorer
from runners.updating.updater import Updater
from tests.runners.updating.families import save_model
from tests.wiring.reference import Reference, distance
from tests.wiring.scripted import Episode

pytestmark = pytest.mark.filterwarnings("ignore:Engine and learner logprobs differ", "ignore:Converting a tensor")
MAX_TOKENS = 16
NAN = math.nan
# Adam's epsilon is so large that it does not scale away what is wrong with the size of a gradient.
UPDATE = {"lr": 0.01, "adam_epsilon": 0.3, "weight_decay": 0.1, "grad_clip": None}
CLOSE, MOVED = 1e-6, 1e-5
REWARDS = ([1.0, 0.0, 0.25], [0.0, 1.0, 0.5], [1.0, NAN, 0.0])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_model("Llama", tmp_path_factory.mktemp("llama"))


def dialogues():
    """Three for each of three problems, of 1 to 8 own tokens; the second of each problem has two turns."""
    rng = np.random.default_rng(0)
    found = []
    for problem, rewards in enumerate(REWARDS):
        prompt = rng.integers(4, 500, 3 + problem).tolist()
        for member, reward in enumerate(rewards):
            episode = Episode(problem=f"problem {problem}", prompt_length=len(prompt))
            episode.hear(prompt)
            for turn in range(2 if member == 1 else 1):
                if turn:
                    episode.hear(rng.integers(4, 500, 2).tolist())
                length = 1 + (3 * problem + 2 * member) % 7
                episode.ids += rng.integers(4, 500, length).tolist()
                episode.own += [True] * length
                episode.engine += [-6.0] * length  # near log(1 / 512); put right by `near`
                episode.answers.append(f"{reward if turn == 0 else 0}")
                episode.lengths.append(length)
            found.append(episode)
    return found


def near(episodes, reference):
    """Has the engine's log-probs lie about the model's own, some beyond the cap of the importance weights."""
    for number, episode in enumerate(episodes):
        own = [place for place, mine in enumerate(episode.own) if mine]
        logprobs = reference.score(episode).logprobs.tolist()
        for place, logprob in zip(own, logprobs, strict=True):
            episode.engine[place] = float(np.float32(logprob + math.sin(1.7 * place + number)))
    return episodes


def rollouts(episodes):
    return [
        Rollout(
            group_id=int(episode.problem.split()[1]),
            observation="",
            text="",
            prompt_token_ids=tuple(episode.ids[: episode.prompt_length]),
            completion_token_ids=tuple(episode.ids[episode.prompt_length :]),
            completion_mask=np.array(episode.own[episode.prompt_length :]),
            rollout_logprobs=np.array(episode.engine[episode.prompt_length :], np.float32),
            policy_version=0,
            reward=episode.reward,
            correct=None,
            finish_reason="stop",
            turn_lengths=tuple(episode.lengths),
        )
        for episode in episodes
    ]


class Case:
    """Updater and reference from the same weights, and the episodes of a step."""

    def __init__(self, folder, training):
        def given(kind):
            return {name: value for name, value in training.items() if name in kind.__dataclass_fields__}

        self.reference = Reference(folder, training | {"max_tokens": MAX_TOKENS})
        self.episodes = near(dialogues(), self.reference)
        self.training, update = training, UpdateSettings(**given(UpdateSettings))
        critic, self.advantage = CriticSettings(**given(CriticSettings)), training.get("advantage", "grpo")
        policy = PolicySettings(policy_model=str(folder))
        temperature, value_head = training.get("temperature", 1.0), self.advantage == "gae"
        scorer = make_scorer(policy, update, temperature=temperature, value_head=value_head)
        optimizers = [optimizer for optimizer, _ in make_optimizers(scorer, update, critic).values()]
        objective = ObjectiveConfig(**given(ObjectiveConfig))
        frozen = make_reference(scorer, policy, update) if objective.kl_coeff else None
        make = (lambda *args, **kwargs: CriticUpdater(critic, *args, **kwargs)) if value_head else Updater
        self.updater = make(scorer, optimizers, update, objective, reference=frozen)
        self.update = update

    def batch(self):
        sampled = rollouts(self.episodes)
        advantages = estimate_advantages(
            self.advantage, np.array([r.reward for r in sampled]), np.array([r.group_id for r in sampled])
        )
        plan = BatchPlan(
            minibatch_size=self.update.minibatch_size,
            num_epochs=self.update.num_epochs,
            aggregation=self.update.aggregation,
            max_tokens=MAX_TOKENS,
            mask_truncated=False,
            num_learners=1,
        )
        return build_train_batch(sampled, advantages, plan, np.random.default_rng(0))

    def expected(self, batch):
        """The reference's metrics over the batch's own deal of the groups into optimizer steps."""
        rows, steps = self.reference.prepare(self.episodes), []
        places = {
            tuple(ids[:length]): i
            for i, (ids, length) in enumerate(zip(batch["token_ids"].tolist(), batch["lengths"], strict=True))
        }
        for epoch in range(self.update.num_epochs):
            deal = batch[f"minibatch_{epoch}"]
            for minibatch in range(deal.max() + 1):
                mine = [row for row in rows if deal[places[tuple(row.episode.ids)]] == minibatch]
                steps.append(self.reference.optimizer_step(mine))
        merge = {name: max if name.endswith("_max") else mean for name in steps[0]}
        return {name: merge[name](step[name] for step in steps) for name in steps[0]}

    def weights(self):
        return {name: tensor.clone() for name, tensor in self.updater.exported_weights()}


CASES = [
    {},
    {"minibatch_size": 3, "num_epochs": 2, "micro_batch_tokens": 24},
    {"num_epochs": 2, "grad_clip": 0.1, "adam_betas": (0.5, 0.8)},
    {"num_epochs": 2, "kl_coeff": 0.5, "temperature": 0.7, "share_prompts": False},
    {"minibatch_size": 3, "entropy_coeff": 0.2, "aggregation": "constant-length"},
    {"advantage": "gae", "num_epochs": 2, "gamma": 0.9, "lambda_": 0.8, "vf_lr": 0.05, "vf_loss_coeff": 0.3},
    {"advantage": "gae", "whiten_advantages": False, "vf_clip_param": 0.2, "micro_batch_tokens": 24},
]


@pytest.mark.parametrize("training", CASES, ids=str)
def test_weights_and_statistics_are_the_plain_loops(folder, training):
    case = Case(folder, UPDATE | training)
    # A second update goes on with the optimizers' moments, from a critic that knows something.
    for version in range(1, 2 + ("advantage" in training or "adam_betas" in training)):
        batch, before = case.batch(), case.weights()
        found, expected = case.updater.update(batch), case.expected(batch)
        assert distance(before, case.weights()) > MOVED and case.updater.policy_version == version
        assert distance(case.reference.weights(), case.weights()) < CLOSE
        absent = {"ref_kl"} - training.keys() if "kl_coeff" not in training else set()
        absent |= {"vf_loss"} if "advantage" not in training else set()
        assert found.keys() - {"vf_explained_var"} == expected.keys() - absent
        for name in expected.keys() - absent:
            assert found[name] == pytest.approx(expected[name], abs=1e-5, rel=1e-5), name
        case.reference.model.load_state_dict(case.weights())


def test_what_a_critic_knows(folder):
    case = Case(folder, UPDATE | {"advantage": "gae", "gamma": 0.9, "lambda_": 0.8})
    with torch.no_grad():
        case.updater.scorer.vf_head.weight.copy_(torch.linspace(-1, 1, 32)[None])
        case.reference.head.copy_(torch.linspace(-1, 1, 32))
    rows = [row for row in case.reference.prepare(case.episodes) if row.counts]
    targets = torch.cat([row.value_targets for row in rows])
    values = torch.cat([case.reference.score(row.episode).values.detach() for row in rows])
    expected = max(-1.0, 1 - float((targets - values).var(correction=0) / targets.var(correction=0)))
    assert case.updater.update(case.batch())["vf_explained_var"] == pytest.approx(expected, abs=1e-5)


def test_a_kl_in_the_reward_is_taken_off_each_token(folder):
    training = UPDATE | {"advantage": "gae", "kl_coeff": 0.3, "kl_placement": "reward", "whiten_advantages": False}
    case = Case(folder, training)
    seen = {}

    def keep(columns):
        seen.update(prepared(columns))
        return seen

    prepared, case.updater._prepared = case.updater._prepared, keep
    case.updater.update(case.batch())
    # The value head is zero: an advantage is the reward less the penalties of the tokens from there on.
    first = int(seen["lengths"].argmin())
    places = seen["loss_mask"][first].nonzero()[:, 0].tolist()
    ids = seen["token_ids"][first, : int(seen["lengths"][first])].tolist()
    [episode] = [e for e in case.episodes if e.ids == ids]
    rollout, ref = (torch.tensor(episode.engine)[places], Reference(folder, {}).score(episode).logprobs.detach())
    to_reference = ref - rollout
    penalties = 0.3 * (to_reference.exp() - 1 - to_reference)
    expected = episode.reward - penalties.flip(0).cumsum(0).flip(0)
    torch.testing.assert_close(seen["advantages"][first, places], expected.float(), rtol=1e-4, atol=1e-5)


def test_rewards_less_the_kl_of_the_whole_completion(folder):
    case = Case(folder, UPDATE | {"kl_coeff": 0.3, "kl_placement": "reward", "kl_estimator": "k1"})
    columns = padded_columns(rollouts(case.episodes))
    columns["rewards"] = np.array([episode.reward for episode in case.episodes])
    found = case.updater.rewards_less_kl(columns)
    for reward, episode in zip(found, case.episodes, strict=True):
        engine = sum(logprob for logprob, mine in zip(episode.engine, episode.own, strict=True) if mine)
        kl = engine - float(case.reference.score(episode).logprobs.sum())
        assert reward == pytest.approx(episode.reward - 0.3 * kl, abs=1e-4, nan_ok=True)


def test_the_log_probs_of_a_batch(folder):
    case = Case(folder, UPDATE)
    found = case.updater.logprobs(padded_columns(rollouts(case.episodes)))
    for row, episode in zip(found, case.episodes, strict=True):
        expected = case.reference.score(episode).logprobs
        assert row[row != 0] == pytest.approx(expected.detach().numpy(), abs=1e-5)


def test_an_engine_that_differs_is_spoken_of(folder):
    case = Case(folder, UPDATE)
    with pytest.warns(UserWarning, match="Engine and learner logprobs differ by"):
        case.updater.update(case.batch())


def test_what_is_exported(folder):
    case = Case(folder, UPDATE | {"advantage": "gae"})
    expected = case.reference.weights()
    exported = dict(case.updater.exported_weights())
    assert exported.keys() == expected.keys() and not any(tensor.requires_grad for tensor in exported.values())
    assert all(torch.equal(exported[name], expected[name]) for name in expected)
    assert case.updater.copied_weights().keys() == expected.keys() and case.updater.copied_adapters() == {}
    specs = {spec.name: spec for spec in case.updater.exported_specs()}
    assert specs.keys() == expected.keys()
    assert all(tuple(specs[name].shape) == tuple(expected[name].shape) for name in expected)


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_an_update_that_breaks_down_changes_nothing(folder, what):
    case = Case(folder, UPDATE | {"grad_clip": 0.5})
    batch = case.batch()
    if what == "loss":
        batch["advantages"][:] = np.inf
    else:
        case.updater.scorer.model.get_output_embeddings().weight.register_hook(lambda gradient: gradient * torch.inf)
    before = case.weights()
    with pytest.raises(FloatingPointError, match=r"The weights were not changed\. A lower lr \(now 0\.01\) .*0\.5"):
        case.updater.update(batch)
    assert distance(before, case.weights()) == 0 and case.updater.policy_version == 0


def test_an_entropy_bonus_that_follows_a_schedule(folder):
    case = Case(folder, UPDATE | {"entropy_coeff": [[0, 0.5], [10, 0.0]]})
    assert case.updater.entropy_coeff == 0.5
    case.updater.entropy_coeff = 0.0
    assert case.updater.entropy_coeff == 0.0
    case.updater.update(case.batch())
    plain = Case(folder, UPDATE)
    plain.updater.update(plain.batch())
    assert distance(case.weights(), plain.weights()) == 0


def test_the_first_step_of_one_epoch_needs_no_pass_for_old_logprobs(folder):
    for training, passes in (({}, 1), ({"minibatch_size": 3}, 4), ({"num_epochs": 2}, 3)):
        case = Case(folder, UPDATE | training)
        calls = []
        case.updater.scorer.register_forward_hook(lambda *passed, calls=calls: calls.append(passed))
        case.updater.update(case.batch())
        assert len(calls) == passes


@pytest.mark.parametrize("fully_shard", [False, True])
def test_gradients_are_summed_over_learners_unless_shards_are_sums_already(folder, monkeypatch, fully_shard):
    summed = []
    monkeypatch.setattr(updater, "sum_gradients", summed.append)
    case = Case(folder, UPDATE | {"fully_shard": fully_shard, "minibatch_size": 3})
    case.updater.update(case.batch())
    parameters = list(case.updater.scorer.parameters())
    assert [len(gradients) for gradients in summed] == ([] if fully_shard else [len(parameters)] * 3)


def test_what_the_first_step_adds_is_gradients_and_the_optimizers_moments(folder):
    case = Case(folder, UPDATE | {"advantage": "gae"})
    said = case.updater.first_step_bytes()
    case.updater.update(case.batch())
    states = [state for optimizer in case.updater._optimizers for state in optimizer.state.values()]
    moments = sum(state[name].nbytes for state in states for name in ("exp_avg", "exp_avg_sq"))
    assert said == sum(parameter.grad.nbytes for parameter in case.updater.scorer.parameters()) + moments > 0


def test_dummy_passes_add_nothing(folder, monkeypatch):
    """Of a rank that has fewer passes than the others; not even where the model is sure of the dummy's token."""
    plain, case = (Case(folder, UPDATE | {"fully_shard": True}) for _ in range(2))
    monkeypatch.setattr(micro_batches, "over_ranks", lambda combine, part: part)
    plain.updater.update(plain.batch())
    monkeypatch.setattr(micro_batches, "over_ranks", lambda combine, part: part + 2)
    dummies = []

    def sure(scorer, args, scores):
        if args[0]["token_ids"].shape == (1, 2):
            dummies.append(scores)
            return {name: 0 * column for name, column in scores.items()}
        return scores

    case.updater.scorer.register_forward_hook(sure)
    case.updater.update(case.batch())
    assert len(dummies) >= 2 and distance(case.weights(), plain.weights()) == 0


@pytest.mark.parametrize("entropy_coeff", [0.0, 1.0])
def test_entropies_carry_gradient_only_where_a_bonus_needs_it(folder, entropy_coeff):
    case = Case(folder, UPDATE | {"entropy_coeff": entropy_coeff})
    asked = []
    hook = lambda module, args, kwargs: asked.append(kwargs["with_entropy_grad"])  # noqa: E731
    case.updater.scorer.register_forward_pre_hook(hook, with_kwargs=True)
    case.updater.update(case.batch())
    assert asked == [entropy_coeff > 0]


def test_the_reference_is_a_frozen_copy(folder):
    case = Case(folder, UPDATE | {"kl_coeff": 0.1})
    frozen = case.updater._reference
    before = copy.deepcopy(dict(frozen.named_parameters()))
    case.updater.update(case.batch())
    assert all(torch.equal(parameter, before[name]) for name, parameter in frozen.named_parameters())
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    assert all(parameter.requires_grad for parameter in case.updater.scorer.parameters())
