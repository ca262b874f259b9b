"""A small JSON client for engines behind a URL, on the standard library alone."""

from __future__ import annotations

import http.client
import json
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Annotated, Any, TypeVar

from agents.base import EngineError
from agents.values import Allowed

API_KEY_VARIABLE = "GSM8K_ENV_ENGINE_API_KEY"
# Completions in flight at once; the engine batches them, so this only has to keep it full.
CONCURRENCY = 256
_T = TypeVar("_T")


def _is_url(url: str) -> bool:
    return url.startswith(("http://", "https://"))


Url = Annotated[str, Allowed("that begins with http:// or https://", _is_url)]


class MissingEndpointError(ValueError):
    """The server answers, but not at this path."""


class HttpClient:
    """Sends JSON to one server.

    Args:
        url: Such as "http://127.0.0.1:8000". The key in the environment variable GSM8K_ENV_ENGINE_API_KEY, if set, is
            sent as a bearer token.
        timeout_s: Seconds without a byte of an answer after which a request has failed.

    Raises:
        ValueError: If `url` is not one.
    """

    def __init__(self, url: str, *, timeout_s: float) -> None:
        if not _is_url(url):
            raise ValueError(f"The engine's url {url!r} must begin with http:// or https://.")
        self.url = url.rstrip("/")
        self.timeout_s = timeout_s
        self._pool = ThreadPoolExecutor(CONCURRENCY, thread_name_prefix="engine-http")
        # Straight to the engine: a proxy of the environment is for other hosts, and mostly refuses local ones.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def get(self, path: str) -> Any:
        """Returns what GET `path` answers."""
        return self._request(path, None)

    def post(self, path: str, payload: dict[str, Any]) -> Any:
        """Returns what POST `path` answers; None for an empty answer."""
        return self._request(path, json.dumps(payload).encode())

    def begin(self, function: Callable[..., _T], *arguments: Any) -> Future[_T]:
        """Calls `function(*arguments)` beside others, up to `CONCURRENCY` of them at once."""
        return self._pool.submit(function, *arguments)

    def _request(self, path: str, body: bytes | None) -> Any:
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get(API_KEY_VARIABLE):
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(self.url + path, data=body, headers=headers)
        try:
            with self._opener.open(request, timeout=self.timeout_s) as response:
                answer = response.read()
        except urllib.error.HTTPError as error:
            raise self._refusal(path, error) from error
        except TimeoutError as error:
            raise EngineError(f"{self.url}{path} did not answer within {self.timeout_s:g} s.") from error
        except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
            cause = getattr(error, "reason", None) or error
            raise EngineError(f"{self.url}{path} cannot be reached: {type(cause).__name__}: {cause}.") from error
        return _decoded(self.url + path, answer)

    def _refusal(self, path: str, error: urllib.error.HTTPError) -> Exception:
        text = f"{self.url}{path} answered {error.code}: {error.read().decode(errors='replace')[:2000]}"
        if error.code in (404, 405):
            return MissingEndpointError(text)
        if error.code in (401, 403):
            return ValueError(f"{text} Set the environment variable {API_KEY_VARIABLE} to the server's API key.")
        return ValueError(text) if error.code < 500 else EngineError(text)


def _decoded(url: str, answer: bytes) -> Any:
    if not answer:
        return None
    try:
        return json.loads(answer)
    except ValueError as error:
        raise EngineError(f"{url} answered something other than JSON: {answer[:200]!r}") from error
