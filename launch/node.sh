#!/usr/bin/env bash
# One node of a run on several machines. Every node calls it with the same command, and the first one runs that:
#
#     bash launch/node.sh python runners/grpo.py --preset qwen2.5-1.5b --engine vllm
#
# The first node starts Ray, waits for the others, runs the command, and ends with its exit code. Each other node joins,
# joins again should its Ray be killed, and ends when the first one's Ray has ended. `ray stop` is not used: it would end
# every Ray of the machine, SkyPilot's own too.
#
#   SKYPILOT_NODE_RANK, SKYPILOT_NUM_NODES, SKYPILOT_NODE_IPS   as SkyPilot sets them: 0 is the first; an address a line
#   RAY_AUTH_TOKEN    the secret of this job, the same on every node
#   NODE_RESOURCES    what this node has of Ray's resources of your own, as JSON (default: {})
#   NODES_WAIT_S      seconds that the nodes wait for each other (default: 600)
#   NODES_PORT        where the first node's Ray listens (default: 6380; 6379 is SkyPilot's own)
set -euo pipefail

rank=${SKYPILOT_NODE_RANK:?} nodes=${SKYPILOT_NUM_NODES:?} wait_s=${NODES_WAIT_S:-600} port=${NODES_PORT:-6380}
first=$(head -n1 <<< "${SKYPILOT_NODE_IPS:?}")
resources=${NODE_RESOURCES:-'{}'}
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN=${RAY_AUTH_TOKEN:?make one for the job, as with: openssl rand -hex 32}
export RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S=0 # nothing is worth waiting for when the command has ended

fail() { echo "error: $*" >&2; exit 1; }
first_listens() { timeout 5 bash -c ": < /dev/tcp/$first/$port" 2> /dev/null; }
start_ray() {
  ray start "$@" --resources "$resources" --block &
  ray=$!
}
ray=
trap '[ -z "$ray" ] || { kill "$ray" 2> /dev/null && wait "$ray"; } || true' EXIT

[ "$rank" != 0 ] || start_ray --head --port "$port" --include-dashboard=false
until first_listens; do
  [ "$rank" != 0 ] || kill -0 "$ray" 2> /dev/null || fail "Ray did not start on the first node; its message is above."
  [ "$SECONDS" -lt "$wait_s" ] || fail "nothing listens at $first:$port within NODES_WAIT_S=$wait_s seconds."
  sleep 1
done

if [ "$rank" = 0 ]; then
  export RAY_ADDRESS=$first:$port
  python - "$nodes" "$wait_s" << 'PY'
import sys
import time

import ray

nodes, wait_s = int(sys.argv[1]), float(sys.argv[2])
ray.init(logging_level="ERROR")
deadline = time.monotonic() + wait_s
while (there := sum(node["Alive"] for node in ray.nodes())) < nodes:
    if time.monotonic() > deadline:
        sys.exit(f"error: {there} of {nodes} nodes are there after NODES_WAIT_S={wait_s:g} seconds; the others' output says why.")
    time.sleep(1)
PY
  "$@"
else
  failures=0
  while [ "$failures" -lt 3 ]; do
    kill -0 "$ray" 2> /dev/null || start_ray --address "$first:$port"
    sleep 5
    if first_listens; then failures=0; else failures=$((failures + 1)); fi
  done
fi
