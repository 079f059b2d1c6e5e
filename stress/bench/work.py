"""What the tasks do. Functions of a module, so that processes can take them too."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from measure import Contender, Work
from peers import Backend, Function, Peer


def empty() -> None:
    pass


def nothing(_item: object) -> None:
    """An empty function of one argument, for maps."""


def spin(iterations: int) -> None:
    """Work that is counted, not timed: it costs the same when others are running."""
    for _ in range(iterations):
        pass


Use = Callable[[Backend, int], object]


def contender(peer: Peer, workers: int, use: Use, count: int, name: str = "", warm: int = 100) -> Contender:
    """Have a peer take turns in `use(backend, count)`."""

    @contextmanager
    def open_turn() -> Iterator[Work]:
        with peer.open(workers) as backend:
            yield lambda count: use(backend, count)

    return Contender(name or peer.name, open_turn, count, warm)


def submitting(function: Function, *args: object) -> Use:
    return lambda backend, count: backend.submit_all(function, count, *args)


def mapping(function: Function) -> Use:
    return lambda backend, count: backend.map(function, range(count))
