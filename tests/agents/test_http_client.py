"""The client of an engine's server, against a small server of our own on loopback."""

from __future__ import annotations

import json
import sys
import threading
import time
import types
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest
import torch

from agents.base import EngineError
from agents.http_client import API_KEY_VARIABLE, HttpClient, MissingEndpointError
from agents.sglang_agent import SGLangAgent
from agents.sglang_agent.engine import Engine
from agents.vllm_agent import VLLMAgent
from tests.agents.engines import free_port
from tests.agents.learner_side import broadcast_of, new_group


class Handler(BaseHTTPRequestHandler):
    """Answers by the path: a status code, or something odd."""

    # What the paths of the engines answer; a test fills it.
    answers: ClassVar[dict[str, Any]] = {}
    # The paths asked for.
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.do_POST()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.asked.append(self.path)
        if self.path == "/slow":
            time.sleep(3)
        if self.path == "/cut":
            self.connection.close()
            return
        if self.path in self.answers:
            self._send(200, json.dumps(self.answers[self.path]).encode())
        elif self.path == "/echo":
            seen = {"body": json.loads(body), "key": self.headers.get("Authorization")}
            self._send(200, json.dumps(seen).encode())
        elif self.path[1:].isdigit():
            self._send(int(self.path[1:]), b"because")
        elif self.path in ("/empty", "/slow"):
            self._send(200, b"")
        elif self.path == "/text":
            self._send(200, b"<html>")
        else:
            self._send(404, b"no such path")

    def log_message(self, *arguments: object) -> None:
        pass

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(Handler, "answers", {})
    monkeypatch.setattr(Handler, "asked", [])
    # As many connections may wait as the client opens at once; the class allows five.
    monkeypatch.setattr(ThreadingHTTPServer, "request_queue_size", 128)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_json_both_ways(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    client = HttpClient(url + "/", timeout_s=5.0)
    assert client.post("/echo", {"ids": [1, 2]}) == {"body": {"ids": [1, 2]}, "key": None}
    monkeypatch.setenv(API_KEY_VARIABLE, "secret")
    assert client.post("/echo", {})["key"] == "Bearer secret"
    assert client.get("/empty") is None


def test_calls_go_on_beside_each_other(url: str) -> None:
    client = HttpClient(url, timeout_s=5.0)
    begun = [client.begin(client.post, "/echo", {"number": number}) for number in range(200)]
    assert [future.result()["body"]["number"] for future in begun] == list(range(200))


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        ("/500", EngineError, "answered 500: because"),
        ("/400", ValueError, "answered 400: because"),
        ("/404", MissingEndpointError, "answered 404"),
        ("/401", ValueError, API_KEY_VARIABLE),
        ("/text", EngineError, "other than JSON"),
        ("/cut", EngineError, "cannot be reached"),
        ("/slow", EngineError, "did not answer within 1 s"),
    ],
)
def test_faults_name_url_and_cause(url: str, path: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"{url}{path}.*{message}"):
        HttpClient(url, timeout_s=1.0).get(path)


def test_a_proxy_of_the_environment_is_not_used(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert HttpClient(url, timeout_s=5.0).get("/empty") is None


@pytest.mark.parametrize("agent_class", [VLLMAgent, SGLangAgent])
def test_no_server(agent_class: type) -> None:
    with pytest.raises(EngineError, match="cannot be reached: ConnectionRefusedError"):
        agent_class("tiny", url=f"http://127.0.0.1:{free_port()}")
    with pytest.raises(ValueError, match="must begin with http"):
        agent_class("tiny", url="127.0.0.1:8000")


@pytest.mark.parametrize("agent_class", [VLLMAgent, SGLangAgent])
def test_engine_options_belong_to_the_server(agent_class: type, url: str) -> None:
    with pytest.raises(ValueError, match=r"Give tensor_parallel_size to .* itself"):
        agent_class("tiny", url=url, tensor_parallel_size=2)


def choice(logprob: float) -> dict[str, Any]:
    choices = [{"index": 0, "token_ids": [5], "logprobs": {"token_logprobs": [logprob]}, "finish_reason": "length"}]
    return {"/v1/models": {"data": [{"id": "m", "max_model_len": 64}]}, "/v1/completions": {"choices": choices}}


def test_vllm_with_raw_logprobs_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Handler, "answers", choice(-1.3))
    with pytest.raises(ValueError, match="--logprobs-mode processed_logprobs"):
        VLLMAgent("tiny", url=url)


def test_vllm_without_development_mode_says_so(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Handler, "answers", choice(0.0))
    agent = VLLMAgent("tiny", url=url)
    assert agent.max_model_len == 64
    weights = {name: torch.zeros(shape) for name, shape in agent._shapes.items()}
    with pytest.raises(ValueError, match="VLLM_SERVER_DEV_MODE=1"):
        agent.update_weights(weights.items(), 1)
    assert agent.policy_version == 0


def test_vllm_counts_the_workers_that_answer(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Handler, "answers", choice(0.0) | {"/collective_rpc": {"results": [None, None]}})
    assert VLLMAgent("tiny", url=url).num_workers() == 2


def server_info(**sizes: int) -> dict[str, Any]:
    info = {"max_req_input_len": 64, "enable_deterministic_inference": False}
    return {"/server_info": info | {"tp_size": 1, "pp_size": 1, "dp_size": 1} | sizes}


@pytest.mark.parametrize(
    ("sizes", "workers", "transfers"),
    [({}, 1, ("ipc", "collective")), ({"tp_size": 2}, 2, ("ipc", "collective")), ({"tp_size": 2, "pp_size": 3}, 6, ())],
)
def test_sglang_knows_its_sizes(
    url: str, monkeypatch: pytest.MonkeyPatch, sizes: dict[str, int], workers: int, transfers: tuple[str, ...]
) -> None:
    monkeypatch.setattr(Handler, "answers", server_info(**sizes))
    agent = SGLangAgent("tiny", url=url)
    assert (agent.num_workers(), agent.weight_transfers) == (workers, transfers)


def test_sglang_is_in_one_group_at_a_time_and_closes_an_update_that_fails(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    update = ["begin_weight_update", "update_weights_from_distributed", "end_weight_update"]
    known = ["init_weights_update_group", "destroy_weights_update_group", *update]
    monkeypatch.setattr(Handler, "answers", server_info() | {f"/{path}": {} for path in known})
    agent = SGLangAgent("tiny", url=url)
    weights = {name: torch.zeros(shape) for name, shape in agent._shapes.items()}
    first, second = (broadcast_of(weights, new_group()) for _ in range(2))
    Handler.asked.clear()
    for source in (first, first, second):
        agent.load_weights(source, 1)
    joined = ["init_weights_update_group", *update, *update]
    moved = ["destroy_weights_update_group", "init_weights_update_group", *update]
    assert Handler.asked == [f"/{path}" for path in [*joined, *moved]]
    Handler.asked.clear()
    del Handler.answers["/update_weights_from_distributed"]
    with pytest.raises(MissingEndpointError):
        agent.load_weights(second, 2)
    assert Handler.asked == [f"/{path}" for path in update]
    assert agent.policy_version == 1


def test_sglang_before_weight_sessions_is_not_held_to_them(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As 0.5.18 to 0.5.20 are, which the extra "sglang" admits."""
    known = ["init_weights_update_group", "update_weights_from_distributed"]
    monkeypatch.setattr(Handler, "answers", server_info() | {f"/{path}": {} for path in known})
    agent = SGLangAgent("tiny", url=url)
    weights = {name: torch.zeros(shape) for name, shape in agent._shapes.items()}
    agent.load_weights(broadcast_of(weights, new_group()), 1)
    assert agent.policy_version == 1
    assert [path for path in Handler.asked if "update_weights" in path] == ["/update_weights_from_distributed"]


def test_an_sglang_engine_without_weight_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    updated = []

    class Old:
        def __init__(self, **options: Any) -> None: ...

        def init_weights_update_group(self, **arguments: Any) -> tuple[bool, str]:
            return True, ""

        def update_weights_from_distributed(self, **arguments: Any) -> tuple[bool, str]:
            updated.append(arguments["names"])
            return True, ""

    monkeypatch.setitem(sys.modules, "sglang", types.SimpleNamespace(Engine=Old))
    monkeypatch.setitem(
        sys.modules, "sglang.srt.managers.io_struct", types.SimpleNamespace(UpdateWeightsFromTensorReqInput=None)
    )
    Engine({}).load_weights(broadcast_of({"a": torch.zeros(2)}, new_group()), 1)
    assert updated == [["a"]]
