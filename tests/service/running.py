"""A server as a process of its own, as people run it, and a client of many threads."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from contextlib import contextmanager

STARTER = """
import sys
from tests.index.regions import TOY
from tests.toy_embedder import ToyEmbedder
import crossview.service.regions as regions, time

class Slow(ToyEmbedder):
    def ground(self, images):
        time.sleep(float(sys.argv[2]))
        return super().ground(images)

regions.ModelPool = lambda *_, **__: lambda _index: Slow()
sys.exit(__import__("crossview.cli", fromlist=["main"]).main(
    ["serve", "--index", sys.argv[1], "--port", "0", *sys.argv[3:]]))
"""


@contextmanager
def running(folder, *options, slow_s=0.0):
    """(process, address) of a served index whose network takes ``slow_s`` per batch."""
    words = [sys.executable, "-c", STARTER, str(folder), str(slow_s), *options]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    try:
        text = ""
        for line in process.stderr:
            text += line
            if response := re.search(r"at (http://\S+)/", line):
                break
        else:
            raise AssertionError(text)
        threading.Thread(target=process.stderr.read, daemon=True).start()
        yield process, response[1]
    finally:
        process.kill()
        process.wait()


def post(address, content, query=""):
    """Status of one request; "refused" if there was no connection, "lost" if it broke off."""
    request = urllib.request.Request(
        f"{address}/v1/locate{query}", content, {"Content-Type": "image/jpeg"}
    )
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            answer.read()
            return answer.status
    except urllib.error.HTTPError as problem:
        return problem.code
    except urllib.error.URLError as problem:
        return "refused" if isinstance(problem.reason, ConnectionRefusedError) else "lost"
    except OSError:
        return "lost"
