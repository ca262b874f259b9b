"""How long steps take by the first completions, against the limits of a run: numbers worked by hand."""

from runners.preflight.duration import faults_of_time
from runners.run_settings import RunSettings


def test_minutes():
    # 256 sequences at 8 a second: 32 s a step, 53 min for 100. In 10 min 18.75 steps; the one in progress is the last.
    (sentence,) = faults_of_time(256, 8.0, RunSettings(steps=100, max_minutes=10.0), None)
    assert sentence == (
        "time: sampling alone takes about 32 s a step, 53 min for 100 steps, but max_minutes=10 ends the run after 19 "
        "of them at most. Raise --max-minutes, or lower --steps, num_prompts, group_size or max_tokens."
    )
    assert list(faults_of_time(256, 8.0, RunSettings(steps=18, max_minutes=10.0), None)) == []
    assert list(faults_of_time(256, 8.0, RunSettings(steps=10**6), None)) == []


def test_the_bound_on_a_steps_sampling():
    (sentence,) = faults_of_time(256, 8.0, RunSettings(), 20.0)
    assert sentence.startswith("time: sampling a step's 256 sequences takes about 32 s, but sample_timeout_s=20 ends")
    assert "--set sample_timeout_s=64" in sentence
    assert list(faults_of_time(256, 8.0, RunSettings(), 40.0)) == []
