"""Problems from the Hugging Face hub, or from its local cache when the hub cannot be reached.

``datasets`` tries a dead network for about 20 seconds before it looks into its cache, far longer where packets are
dropped silently. So one short request comes first, and its answer decides whether the cache alone is asked.
"""

import functools
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from gsm8k_env.rows import Problem, problem_from_row

HUB_ID = "openai/gsm8k"
_CONFIGS = {HUB_ID: "main"}

_PROBE_SECONDS = 5.0


class HubUnavailableError(ValueError):
    """The hub could not be reached, or has no such data set, and its cache has no copy."""


def read_hub(repo: str, split: str) -> list[Problem]:
    """Returns a split of a data set on the hub, in either layout of ``gsm8k_env.rows``.

    Args:
        repo: The data set's id, such as "openai/gsm8k".
        split: "train" or "test".

    Raises:
        HubUnavailableError: It cannot be had, from the hub or from the cache; the message says why.
        ValueError: A row is wrong.
    """
    import datasets

    reachable = not datasets.config.HF_HUB_OFFLINE and hub_reachable(datasets.config.HF_ENDPOINT)
    try:
        with _offline(not reachable):
            table = datasets.load_dataset(repo, _CONFIGS.get(repo), split=split)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise HubUnavailableError(_reason(repo, split, reachable, error)) from error
    return [problem_from_row(row, where=f"{repo}, {split}, row {number}") for number, row in enumerate(table, start=1)]


@functools.cache
def hub_reachable(endpoint: str, seconds: float = _PROBE_SECONDS) -> bool:
    """Returns whether anything answers at the hub's address, within ``seconds``; asks once a process.

    The request honours proxy variables. It runs in a thread of its own because a name look-up has no time limit.
    """
    answered = threading.Event()
    probe = threading.Thread(target=_probe, args=(endpoint, seconds, answered), daemon=True)
    probe.start()
    probe.join(seconds)
    return answered.is_set()


def _probe(endpoint: str, seconds: float, answered: threading.Event) -> None:
    try:
        urllib.request.urlopen(urllib.request.Request(endpoint, method="HEAD"), timeout=seconds).close()
    except urllib.error.HTTPError:
        pass  # an answer, if not a friendly one
    except OSError as error:
        # A certificate that this interpreter does not know is an answer too; `datasets` brings its own certificates.
        if "CERTIFICATE_VERIFY_FAILED" not in str(error):
            return
    answered.set()


@contextmanager
def _offline(only_cache: bool) -> Iterator[None]:
    """Keeps ``datasets`` off the network meanwhile; it reads the environment variable for this only when imported."""
    import datasets
    from huggingface_hub import constants

    before = datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE
    if only_cache:
        datasets.config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE = before


def _reason(repo: str, split: str, reachable: bool, error: Exception) -> str:
    import datasets

    if reachable:
        return f"The hub could not provide {repo!r} (split {split!r}): {error}"
    silent = f"{datasets.config.HF_ENDPOINT} does not answer"
    cause = "HF_HUB_OFFLINE is set" if datasets.config.HF_HUB_OFFLINE else silent
    return f"{cause}, and the local cache of `datasets` has no copy of {repo!r} (split {split!r})."
