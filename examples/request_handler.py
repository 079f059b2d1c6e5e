"""Fan out inside a request handler: each HTTP request becomes a few tasks, and all share one pool.

The handler decorates the function anew for every request, so that errors and logs name the request: it
costs about as much as making one small object, and nothing is kept of it. However many requests come in,
no more tasks run at once than the pool has workers.
"""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from urllib.error import HTTPError
from urllib.parse import parse_qs, urlsplit
from urllib.request import ProxyHandler, build_opener

import makeparallel as mp

PARTS = 4
PATHS = (
    "/primes?below=20000",
    "/primes?below=40000",
    "/primes?below=60000",
    "/primes?below=many",
    "/primes?below=9000000&timeout=0.2",
)


def count_primes(start: int, stop: int) -> int:
    """Count the primes in a range by trial division."""
    primes = 0
    for number in range(max(start, 2), stop):
        mp.checkpoint()  # leaves once the request was given up, so that the worker is free again
        primes += all(number % divisor for divisor in range(2, int(number**0.5) + 1))
    return primes


def count_in_parallel(below: int, timeout: float) -> int:
    """Count the primes below a number with one task per part of the range."""
    count = mp.parallel(name=f"primes below {below}")(count_primes)
    bounds = [below * part // PARTS for part in range(PARTS + 1)]
    handles = [count(start, stop) for start, stop in pairwise(bounds)]
    try:
        return sum(mp.gather(handles, timeout=timeout))
    finally:
        for handle in handles:
            handle.cancel()  # nobody waits for them any more; what has finished stays as it is


class Handler(BaseHTTPRequestHandler):
    """Answers `/primes?below=NUMBER&timeout=SECONDS` in JSON."""

    def do_GET(self) -> None:
        """Fan out, wait, answer."""
        query = parse_qs(urlsplit(self.path).query)
        try:
            below = int(query["below"][0])
            timeout = float(query.get("timeout", ["60"])[0])
            self.answer(200, {"below": below, "primes": count_in_parallel(below, timeout)})
        except (KeyError, ValueError) as error:  # an error in a task would be a TaskError
            self.answer(400, {"error": f"{type(error).__name__}: {error}"})
        except TimeoutError:
            self.answer(503, {"error": f"not finished within {timeout:g} s"})
        except mp.TaskError as error:
            self.answer(500, {"error": str(error)})

    def answer(self, status: int, content: dict[str, object]) -> None:
        """Send a JSON object."""
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class calls it so
        """Keep quiet: the client prints the answers."""


class Server(ThreadingHTTPServer):
    """A server whose `server_close` waits for the requests it has taken."""

    daemon_threads = False


def main() -> None:
    """Serve, send a few requests at once, print the answers, shut everything down."""
    with Server(("127.0.0.1", 0), Handler) as server:
        loop = threading.Thread(target=server.serve_forever)
        loop.start()
        origin = f"http://127.0.0.1:{server.server_port}"

        def fetch(path: str) -> tuple[int, str]:
            opener = build_opener(ProxyHandler({}))  # loopback: the environment's proxy has no part in it
            try:
                with opener.open(origin + path, timeout=120) as response:
                    return response.status, response.read().decode()
            except HTTPError as error:
                with error:
                    return error.code, error.read().decode()

        try:
            with ThreadPoolExecutor(len(PATHS)) as clients:
                for path, (status, text) in zip(PATHS, clients.map(fetch, PATHS), strict=True):
                    print(f"{path:<34} {status}  {text}")
        finally:
            server.shutdown()
            loop.join()
    print(f"server closed; every task ended: {mp.shutdown(timeout_secs=10)}")


if __name__ == "__main__":
    main()
