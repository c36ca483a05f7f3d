import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from mammogan.tracking import registry, store

pytestmark = pytest.mark.slow


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def url(root, weights, origin):
    """`mlflow models serve` as README and docs/serving.md print it, started at the root of the checkout."""
    registry.register(root, "mammogan", weights, origin, fid=33.0)
    port = free_port()
    ours = store.environment(root)
    environment = {name: value for name, value in os.environ.items() if name not in ours} | {"PATH": ours["PATH"]}
    command = ["models", "serve", "-m", "models:/mammogan-dcgan@champion", "--env-manager", "local", "-p", str(port)]
    server = subprocess.Popen([sys.executable, "-m", "mlflow", *command], cwd=root, env=environment)
    try:
        deadline = time.monotonic() + 180
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5).close()
                break
            except OSError:
                assert server.poll() is None, "the server ended by itself"
                assert time.monotonic() < deadline, "the server did not answer within 3 minutes"
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        end_with_children(server)


def end_with_children(process: subprocess.Popen) -> None:
    import psutil

    children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    for member in (*children, process):
        with contextlib.suppress(psutil.NoSuchProcess):
            member.terminate()
    psutil.wait_procs(children, timeout=20)
    process.wait(timeout=20)


def post(url: str, body: str) -> tuple[int, bytes]:
    request = urllib.request.Request(url, body.encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, refusal.read()


def test_the_champion_is_served_as_the_documentation_says(url, weights):
    good = '{"dataframe_split": {"columns": ["n", "seed"], "data": [[4, 7]]}, "params": {"truncation": 0.8}}'
    status, body = post(url, good)
    assert status == 200
    images = json.loads(body)["predictions"]
    assert len(images) == 4
    assert images[0]["model_version"] == "1"
    assert images[0]["synthetic"] is True
    assert post(url, good) == (200, body)
    for n in ("0", "-1", "1000000000", '"abc"', "null"):
        status, body = post(url, f'{{"dataframe_split": {{"columns": ["n"], "data": [[{n}]]}}}}')
        assert status == 400
        assert b"Error: n " in body
        assert b"Traceback" not in body
    status, body = post(url, "")
    assert status == 400
    assert b"Traceback" not in body
