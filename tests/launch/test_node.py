"""A node that cannot join says so within its bound."""

import pytest

from tests.launch.nodes import Nodes


@pytest.fixture
def nodes(tmp_path):
    nodes = Nodes(tmp_path)
    yield nodes
    nodes.close()


def test_without_a_token_nothing_starts(nodes):
    assert nodes.start(1, [], RAY_AUTH_TOKEN="").wait(20) == 1
    assert "RAY_AUTH_TOKEN: make one for the job, as with: openssl rand -hex 32" in nodes.output(1)


def test_a_node_does_not_wait_for_ever_for_the_first(nodes):
    assert nodes.start(1, [], NODES_WAIT_S="1").wait(20) == 1
    assert f"error: nothing listens at 127.0.0.1:{nodes.port} within NODES_WAIT_S=1 seconds." in nodes.output(1)
