"""GSM8K token by token, for algorithms that know nothing of language models."""

import functools
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.error import InvalidAction, ResetNeeded

from gsm8k_env.choices import check_choice, check_count
from gsm8k_env.env import GSM8KEnv
from gsm8k_env.problems import ProblemSet
from gsm8k_env.prompts import DEFAULT_INSTRUCTION, join_prompt
from gsm8k_env.task import WithProblems
from gsm8k_env.vocabulary import BYTES, Vocabulary, load_vocabulary

OBSERVATIONS = ("flat", "dict")

Observation = np.ndarray | dict[str, Any]


class GSM8KTokensEnv(WithProblems, gym.Env[Observation, int | np.integer]):
    r"""A grade-school math word problem, to be answered token by token.

    ## Description

    The problems, prompts and grades of `GSM8K-v0`, with generation made part of the environment: an action appends
    one token to the sequence, and the text is graded when it ends. The spaces have a fixed size, so that any algorithm
    for discrete actions runs on it, such as RLlib's PPO or a script in CleanRL's manner.

    A language model's usual environment is `GSM8K-v0`, whose action is the whole text: an engine writes it without a
    `step` for every token.

    ```python
    >>> import gymnasium as gym
    >>> env = gym.make("gsm8k_env:GSM8KTokens-v0", dataset="builtin", instruction="none", observation="dict")
    >>> observation, info = env.reset(seed=0)
    >>> bytes(observation["token_ids"][: observation["length"] - 1].tolist()).decode() == info["question"]
    True
    >>> for token in [*f"#### {info['ground_truth']}".encode(), 256]:
    ...     observation, reward, terminated, truncated, info = env.step(token)
    >>> reward, terminated, info["method"], info["finish_reason"]
    (1.0, True, 'hash', 'stop')

    ```

    ## Action Space

    `Discrete(V)`: the id of the next token, in a vocabulary of V tokens. The built-in vocabulary has V = 257: tokens 0
    to 255 are the bytes of UTF-8, 256 is the end. With `alphabet="0123456789"` only these characters can be written:
    `Discrete(11)`, where action i is the i-th character and the last action, 10, is the end.
    `env.get_wrapper_attr("action_token_ids")` has the token id of every action. Anything outside the space raises
    `gymnasium.error.InvalidAction`. `action_masks()` leaves out special tokens but the end, for sb3-contrib's
    `MaskablePPO`.

    ## Observation Space

    The token ids of the prompt and, right after them, of what has been written so far, in an array of
    `max_prompt_tokens + max_tokens` places; those not yet filled have the id V, which is no token. The observation
    after the last step includes the last token. `observation` says in what form:

    - `"flat"`: `Box(0, 1, (max_prompt_tokens + max_tokens,), float32)`, each id divided by V, as a stock MLP takes it.
    - `"dict"`: `Dict(token_ids=Box(0, V, ..., int32), length=Discrete(max_prompt_tokens + max_tokens + 1))`, the ids
      themselves and the number of filled places. An embedding of them needs V + 1 rows.

    The prompt is the user message of `GSM8K-v0`. The built-in vocabulary writes an end token behind it; a pretrained
    tokenizer puts it into its chat template, if it has one.

    ## Starting State

    As in `GSM8K-v0`: `reset(options={"index": i})` poses problem `i`, otherwise the environment's generator draws one.
    Nothing is written yet.

    ## Rewards

    0.0 for every step but the last. The last step's reward is the grade of the decoded text: 1.0 if its final answer
    equals the ground truth as a number, else 0.0. Special tokens are not part of the text.

    ## Episode End

    An episode terminates with the end token, or when `max_tokens` tokens are written, the end token included. Both are
    `terminated`, never `truncated`: the limit is part of the task, the text is graded there as it stands, the
    observation shows how much is written, and no reward is left to be estimated behind it. `info["finish_reason"]`
    tells the two apart. A limit from outside, such as Gymnasium's `TimeLimit`, truncates without a grade. A step after
    the end raises `gymnasium.error.ResetNeeded`.

    ## Information

    `reset` gives what it gives in `GSM8K-v0`: `question`, `ground_truth`, `index`, `split`, `dataset`, `num_steps`. A
    step's is empty but for the last one's:

    | key             | type            | value                                                            |
    |-----------------|-----------------|------------------------------------------------------------------|
    | `correct`       | **bool**        | whether the reward is 1.0                                        |
    | `extracted`     | **str or None** | the final answer that was found, None if there is none           |
    | `method`        | **str or None** | the form it was found in                                         |
    | `completion`    | **str**         | the text that was graded                                         |
    | `finish_reason` | **str**         | `"stop"` for the end token, `"length"` for `max_tokens` without  |

    ## Arguments

    | Parameter           | Type    | Default      | Description                                                      |
    |---------------------|---------|--------------|------------------------------------------------------------------|
    | `split`             | **str** | `"train"`    | as in `GSM8K-v0`, like the three that follow                     |
    | `dataset`           | **str** | `"auto"`     | where the problems come from                                     |
    | `grading`           | **str** | `"flexible"` | `"flexible"`, `"strict"` or `"boxed"`                            |
    | `instruction`       | **str** | `"hash"`     | the text after each question, or its name                        |
    | `tokenizer`         | **str** | `"bytes"`    | the built-in vocabulary; or a folder or hub id with a tokenizer  |
    | `alphabet`          | **str** | `None`       | the characters that can be written; each must be one token       |
    | `max_tokens`        | **int** | `512`        | the most tokens of a completion, the end token included          |
    | `max_prompt_tokens` | **int** | `1280`       | room for the prompt; the longest one must fit                    |
    | `observation`       | **str** | `"flat"`     | `"flat"` or `"dict"`                                             |
    | `render_mode`       | **str** | `None`       | `"ansi"`: `render` returns the dialogue as text                  |

    A tokenizer other than `"bytes"` needs `transformers`, which is imported only then. The default room holds every
    official prompt in bytes; an MLP over few problems wants less, for instance
    `instruction="none", max_prompt_tokens=160, max_tokens=3`.

    ## Version History

    * v0: Initial version.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi"], "render_fps": 1}  # noqa: RUF012  (as Gymnasium declares it)

    def __init__(
        self,
        split: str = "train",
        dataset: str = "auto",
        grading: str = "flexible",
        instruction: str = DEFAULT_INSTRUCTION,
        tokenizer: str = BYTES,
        alphabet: str | None = None,
        max_tokens: int = 512,
        max_prompt_tokens: int = 1280,
        observation: str = "flat",
        render_mode: str | None = None,
    ) -> None:
        self._max_tokens = check_count("max_tokens", max_tokens)
        check_count("max_prompt_tokens", max_prompt_tokens)
        self._as_dict = check_choice("observation", observation, OBSERVATIONS) == "dict"
        self._text_env = GSM8KEnv(split, dataset, grading, instruction, render_mode)
        self._task = self._text_env._task
        self.render_mode = render_mode
        self.vocabulary = load_vocabulary(tokenizer)
        self.action_token_ids = _action_token_ids(self.vocabulary, alphabet)  # int64 [A] the token of each action
        longest = _longest_prompt(self.problems, self._task.instruction, self.vocabulary)
        if longest > max_prompt_tokens:
            raise ValueError(
                f"The longest prompt of {self.problems.dataset} has {longest:,} tokens, but max_prompt_tokens is "
                f"{max_prompt_tokens:,}: set it to {longest:,} or more, or shorten the prompts, for instance with "
                'instruction="none".'
            )
        room = max_prompt_tokens + max_tokens
        self.action_space = spaces.Discrete(len(self.action_token_ids))
        self.observation_space = (
            spaces.Dict(
                token_ids=spaces.Box(0, self.vocabulary.size, (room,), np.int32), length=spaces.Discrete(room + 1)
            )
            if self._as_dict
            else spaces.Box(0.0, 1.0, (room,), np.float32)
        )
        self._token_ids = np.full(room, self.vocabulary.size, np.int32)
        self._length = self._prompt_length = 0
        self._finish_reason: str | None = "not started"  # None while tokens may be written

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Poses a problem.

        Args:
            seed: Seeds the generator that draws problems.
            options: ``{"index": i}`` poses problem ``i``; nothing else is allowed.

        Returns:
            The prompt's tokens, and what ``GSM8KEnv.reset`` tells about the problem.

        Raises:
            ValueError: An option is unknown, or the index is not one of the problems.
        """
        prompt, info = self._text_env.reset(seed=seed, options=options)
        # One generator for both: the text environment seeds it and draws from it.
        self._np_random, self._np_random_seed = self._text_env.np_random, self._text_env.np_random_seed
        prompt_token_ids = self.vocabulary.encode_prompt(prompt)
        self._length = self._prompt_length = len(prompt_token_ids)
        self._token_ids[: self._length] = prompt_token_ids
        self._token_ids[self._length :] = self.vocabulary.size
        self._finish_reason = None
        return self._observe(), info

    def step(self, action: int | np.integer) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Writes a token; grades the text if it was the last one.

        Args:
            action: Which token, from 0 to ``action_space.n - 1``.

        Returns:
            The tokens so far; 0.0, or the grade at the end; whether the text has ended; False; and an empty info, or
            the table's under Information at the end.

        Raises:
            InvalidAction: The action is not in the space.
            ResetNeeded: No text is being written: before the first ``reset``, or after the end.
        """
        if self._finish_reason is not None:
            raise ResetNeeded("There is no open episode: call reset() first, and again after each terminated step.")
        if action not in self.action_space:
            raise InvalidAction(
                f"An action is one token, an integer from 0 to {len(self.action_token_ids) - 1}; got {action!r}."
            )
        token_id = self.action_token_ids[action]
        self._token_ids[self._length] = token_id
        self._length += 1
        if token_id == self.vocabulary.end_token_id:
            self._finish_reason = "stop"
        elif self._length - self._prompt_length == self._max_tokens:
            self._finish_reason = "length"
        else:
            return self._observe(), 0.0, False, False, {}
        completion = self._completion()
        _, reward, terminated, truncated, info = self._text_env.step(completion)
        info |= {"completion": completion, "finish_reason": self._finish_reason}
        return self._observe(), reward, terminated, truncated, info

    def action_masks(self) -> np.ndarray:
        """Returns bool [A], True for the actions that write text or end it, the same at every step.

        Special tokens but the end are False: they may be written, and take up a place. The name and the form are those
        that sb3-contrib's ``MaskablePPO`` asks for.
        """
        special = np.isin(self.action_token_ids, self.vocabulary.special_token_ids)
        return ~special | (self.action_token_ids == self.vocabulary.end_token_id)

    def render(self) -> str | None:  # type: ignore[override]  # Gymnasium's annotation omits the "ansi" mode's str
        """Returns the dialogue so far as text, if ``render_mode="ansi"``.

        Raises:
            ResetNeeded: No problem has been posed yet.
        """
        shown = self._text_env.render()
        writing = self._finish_reason is None and self._length > self._prompt_length
        return f"{shown}\n\n[assistant]\n{self._completion()}" if shown is not None and writing else shown

    def _completion(self) -> str:
        return self.vocabulary.decode(self._token_ids[self._prompt_length : self._length].tolist())

    def _observe(self) -> Observation:
        if self._as_dict:
            return {"token_ids": self._token_ids.copy(), "length": np.int64(self._length)}
        return self._token_ids.astype(np.float32) / np.float32(self.vocabulary.size)


def _action_token_ids(vocabulary: Vocabulary, alphabet: str | None) -> np.ndarray:
    """Returns int64 [A] the token id of each action."""
    if alphabet is None:
        return _frozen(range(vocabulary.size))
    if not isinstance(alphabet, str) or not alphabet or len(set(alphabet)) < len(alphabet):
        raise ValueError(f"alphabet must be a text of different characters, such as '0123456789', got {alphabet!r}.")
    encoded = {character: vocabulary.encode(character) for character in alphabet}
    for character, token_ids in encoded.items():
        if len(token_ids) != 1:
            raise ValueError(
                f"Each character of alphabet must be one token, but {character!r} is {len(token_ids)} of this "
                "tokenizer: leave it out, or choose another tokenizer."
            )
    return _frozen([*(token_ids[0] for token_ids in encoded.values()), vocabulary.end_token_id])


def _frozen(token_ids: list[int] | range) -> np.ndarray:
    array = np.array(token_ids, dtype=np.int64)
    array.flags.writeable = False
    return array


@functools.lru_cache(maxsize=16)  # a process makes many environments alike, and a tokenizer takes its time
def _longest_prompt(problems: ProblemSet, instruction: str, vocabulary: Vocabulary) -> int:
    return max(len(vocabulary.encode_prompt(join_prompt(question, instruction))) for question in problems.questions)
