"""The look before step 1: scripted agents that fail in each way, sampled as training samples; a sentence for each."""

from __future__ import annotations

import itertools
import re
import shutil
import time
from types import SimpleNamespace

from agents.models import resolve_model
from agents.scripted_agent import ScriptedAgent
from gsm8k_env.problems import load_problems
from runners.preflight.look import preflight
from runners.preflight.memory import LearnerMemory
from runners.rllib.grpo import GRPOConfig
from runners.run_settings import RunSettings
from runners.sampling.environments import Environments
from runners.sampling.problems import ProblemSampler
from runners.sampling.rollout import SampleRequest
from runners.sampling.sampler import Sampler

DATASET = "builtin:1:64"
EVALUATION = {"eval_num_problems": 8.0}
ROOMY = LearnerMemory(place="main memory of here", needed=2**20, free=2**30)
ANSWERS = {problem.question: problem.ground_truth for problem in load_problems("train", DATASET)}
WRONG = "#### 123456789"


class Algorithm:
    """What the look asks of an algorithm: settings, problems, a Sampler over a scripted agent, the learners' memory."""

    def __init__(self, script, *, memory=ROOMY, agent=None, **training):
        training = {"num_prompts": 8, "group_size": 4, "max_tokens": 24, **training}
        self.config = GRPOConfig().training(**training)
        self.problems = ProblemSampler(64, seed=3)
        self.updaters = SimpleNamespace(tell=lambda call: [memory])
        self.asked = []
        environments = Environments("gsm8k_env:GSM8K-v0", {"train": {"dataset": DATASET}, "eval": {}})
        self.sampler = Sampler(environments, agent or ScriptedAgent(script=script))

    def sample(self, problems, sampling, env):
        self.asked.append((problems, sampling))
        return self.sampler.sample(
            SampleRequest(
                resets=problems,
                sampling=sampling,
                seed=0,
                max_prompt_tokens=self.config.max_prompt_tokens,
                env=env,
            )
        )

    def callbacks_metrics(self):
        return []


def look(script, run=RunSettings(), evaluation_s=0.001, **options):  # noqa: B008
    return preflight(Algorithm(script, **options), run, EVALUATION, evaluation_s)


def right(prompt, sample):
    (answer,) = (answer for question, answer in ANSWERS.items() if question in prompt)
    return f"#### {answer}"


def one_in_two(prompt, sample):
    return right(prompt, sample) if sample % 2 else WRONG


def test_all_is_well():
    (sentence,) = look(one_in_two)
    assert re.fullmatch(
        r"all well: 32 completions of 8 problems, 50% right, 0% cut at max_tokens=24 \(\d\.\d s\)", sentence
    )


def test_no_end_token():
    (sentence, *_) = look(lambda prompt, sample: "1 " * 99)
    assert sentence.startswith("no end token: each of 32 completions ran to its limit (max_tokens=24)")
    assert "--set max_tokens=48" in sentence and "python runners/sft.py" in sentence


def test_max_tokens_too_short():
    def two_of_four(prompt, sample):
        return right(prompt, sample) + " so" * 60 if sample < 2 else WRONG

    (sentence,) = look(two_of_four)
    assert sentence == (
        "max_tokens=24 is short: it cut 16 of 32 completions, whose answers are lost. Raise it: --set max_tokens=48."
    )


def test_a_quarter_that_is_cut_is_not_too_much():
    def one_of_eight(prompt, sample):
        return one_in_two(prompt, sample) + " so" * (60 if sample == 0 else 0)

    (sentence,) = look(one_of_eight, group_size=8)
    assert sentence.startswith("all well: 32 completions of 4 problems, 50% right, 12% cut at max_tokens=24")


def test_no_parsable_answer():
    sentences = look(lambda prompt, sample: "I do not know.")
    assert sentences[0].startswith(
        "no answer was found in any of 32 completions; the first ends 'I do not know.'. Ask for the form that is graded"
    )
    assert "too hard" in sentences[1] and len(sentences) == 2


def test_too_hard():
    (sentence,) = look(lambda prompt, sample: WRONG)
    assert sentence.startswith("every group is equal (8 of 8)")
    assert "all 32 are wrong, the problems are too hard" in sentence and "--dataset builtin:1" in sentence


def test_too_easy():
    (sentence,) = look(right)
    assert "every group is equal (8 of 8)" in sentence and "all 32 are right, the problems are too easy" in sentence


def test_groups_that_are_equal_but_not_alike():
    first = sorted(ANSWERS)[::2]

    def half(prompt, sample):
        return right(prompt, sample) if any(question in prompt for question in first) else WRONG

    (sentence,) = look(half)
    assert "the completions of a problem hardly differ. Raise --set temperature" in sentence


def test_one_group_alone_says_nothing():
    (sentence,) = look(right, num_prompts=1)
    assert sentence.startswith("all well: 4 completions of 1 problems, 100% right")


def test_groups_of_one_are_not_compared():
    (sentence,) = look(right, group_size=1, advantage="reinforce", num_prompts=40)
    assert sentence.startswith("all well: 32 completions of 32 problems, 100% right")


def test_prompts_that_are_too_long():
    agent = ScriptedAgent(script=one_in_two)
    algorithm = Algorithm(one_in_two, agent=agent)
    preflight(algorithm, RunSettings(), EVALUATION, 1.0)
    ((problems, _),) = algorithm.asked
    questions = load_problems("train", DATASET)
    lengths = sorted(
        len(agent.encode(f"{questions[p.options['index']].question} Think it through step by step, then write the "
                         'final number after "####".'))
        for p in problems
    )  # fmt: skip
    assert lengths[4] < lengths[5]
    (sentence,) = look(one_in_two, max_prompt_tokens=lengths[4])
    assert sentence.startswith(f"3 of 8 problems have prompts longer than max_prompt_tokens={lengths[4]}, and are ")
    (sentence,) = look(one_in_two, max_prompt_tokens=3)
    assert sentence.startswith("8 of 8 problems") and "--set max_prompt_tokens=6" in sentence


def test_a_model_without_a_chat_template(tmp_path):
    folder = shutil.copytree(resolve_model("tiny"), tmp_path / "model")
    (folder / "chat_template.jinja").unlink()
    algorithm = Algorithm(one_in_two, agent=ScriptedAgent(str(folder), script=one_in_two))
    algorithm.config.agents(policy_model=str(folder))
    (sentence,) = preflight(algorithm, RunSettings(), EVALUATION, 1.0)
    assert sentence.startswith(f"the model {str(folder)!r} has no chat template: prompts are the environment's plain")


def test_memory_that_will_not_suffice():
    memory = LearnerMemory(place="main memory of here", needed=3 * 2**30, free=2**30)
    (sentence,) = look(one_in_two, memory=memory)
    assert "take 3.0 GiB, but main memory of here has 1.0 GiB left" in sentence and "--set lora_rank=16" in sentence


def slow(prompt, sample):
    time.sleep(0.01)
    return one_in_two(prompt, sample)


def test_time_that_will_not_suffice():
    # 32 sequences a step, 10 ms each or more: 320 s for 1,000 steps.
    (sentence,) = look(slow, RunSettings(steps=1000, max_minutes=0.1), evaluation_s=1000)
    assert sentence.startswith("time: sampling alone takes about 0.") and "for 1000 steps" in sentence
    # The evaluation was far faster: eight sequences in 0.1 ms.
    (sentence,) = look(slow, RunSettings(steps=1000, max_minutes=0.1), evaluation_s=0.0001)
    assert sentence.startswith("all well")


def test_a_bound_on_sampling_that_ends_every_step():
    algorithm = Algorithm(slow)
    algorithm.config.env_runners(num_env_runners=1, sample_timeout_s=0.05)
    (sentence,) = preflight(algorithm, RunSettings(), EVALUATION, 100)
    assert "but sample_timeout_s=0.05 ends it" in sentence


def test_what_is_sampled_is_step_2s_and_no_problem_is_drawn():
    algorithm = Algorithm(one_in_two, group_size=16, temperature=0.5)
    preflight(algorithm, RunSettings(), EVALUATION, 1.0)
    ((problems, sampling),) = algorithm.asked
    assert (len(problems), sampling.n, sampling.temperature) == (2, 16, 0.5)
    assert algorithm.problems.drawn == 0
    of_steps = algorithm.problems.draw(16)
    assert problems == of_steps[8:10]
    assert len({reset.options["index"] for reset in itertools.chain(of_steps)}) == 16
