"""
A script that tries the running server: is it up, does it answer, is the KV cache as planned.
"""

from __future__ import annotations

from json import dumps
from typing import TYPE_CHECKING

from vllm_sizing.render.argv import served_name
from vllm_sizing.render.deployment import deployment, plan_notes
from vllm_sizing.render.shell import bash_script, shell_word
from vllm_sizing.specs.serving import resolve_serving

if TYPE_CHECKING:
    from vllm_sizing.specs.plan import Plan

_BODY = r"""
url="${1:-http://127.0.0.1:@PORT@}"
log="${2:-}"

request() {
  if [ -n "${VLLM_API_KEY:-}" ]; then
    # As a file, because other processes can read a command line.
    curl --fail --silent --show-error --header @<(printf 'Authorization: Bearer %s' "$VLLM_API_KEY") "$@"
  else
    curl --fail --silent --show-error "$@"
  fi
}

echo "Waiting for $url/health, at most $start_s s"
deadline=$((SECONDS + start_s))
until curl --fail --silent --max-time 10 --output /dev/null "$url/health"; do
  if [ "$SECONDS" -ge "$deadline" ]; then echo "FAILED: not healthy after $start_s s" >&2; exit 1; fi
  sleep 5
done

answer="$(request --max-time 300 --header 'Content-Type: application/json' --data "$question" "$url$path")"
case "$answer" in
  *"$expected"*) echo "It answers." ;;
  *) printf 'FAILED: unexpected answer: %s\n' "$answer" >&2; exit 1 ;;
esac

if [ -n "$log" ]; then
  logged="$(sed -n 's/.*GPU KV cache size: \([0-9,]*\) tokens.*/\1/p' "$log" | tail -n 1 | tr -d ,)"
  if [ -z "$logged" ]; then echo "FAILED: $log has no line with the KV cache size" >&2; exit 1; fi
  if [ "$logged" -lt "$least_tokens" ] || [ "$logged" -gt "$most_tokens" ]; then
    echo "FAILED: the KV cache holds $logged tokens, planned were $least_tokens to $most_tokens" >&2; exit 1
  fi
  echo "The KV cache holds $logged tokens, as planned."
fi
echo "PASSED"
"""


def smoke_test(plan: Plan) -> str:
    """
    The script: first argument the server's address, second (if any) the file of its log.

    Raises:
        InvalidValueError: The model's name cannot stand on a command line.
    """
    wanted = deployment(plan, "smoke-test", container=False)
    pooling = resolve_serving(plan.model, plan.engine_args)[0] == "pooling"
    name, size = served_name(plan), plan.kv_cache.size_tokens_interval
    question = {"model": name, "input": "Hello"} if pooling else {"model": name, "prompt": "1, 2, 3,", "max_tokens": 8}
    values = {
        "path": "/pooling" if pooling else "/v1/completions",
        "question": dumps(question),
        "expected": '"data"' if pooling else '"text"',
        "start_s": str(wanted.start_s),
        # vLLM rounds down to whole blocks of what it measures.
        "least_tokens": str(int(size.low)),
        "most_tokens": str(int(size.high)),
    }
    head = (
        "Usage: smoke-test.sh [http://host:port [vllm.log]]; VLLM_API_KEY, if set, is sent along.",
        "Exit code 0: up, answers, and the KV cache (if a log is given) has the planned size.",
        "",
        *plan_notes(plan),
    )
    settings = "".join(f"{name}={shell_word(value)}\n" for name, value in values.items())
    return bash_script(head, settings + _BODY.replace("@PORT@", str(wanted.port)))
