"""Programs that divide their work, each serial and with tasks: fib, queens, quicksort, and an unbalanced tree (UTS)."""

from array import array
from random import Random

import makeparallel as mp


def fib(n: int) -> int:
    if n < 2:
        return n
    return fib(n - 1) + fib(n - 2)


def spawn_fib(n: int) -> int:
    """A task for one half, at every level: nothing but spawning and joining."""
    if n < 2:
        return n
    left = fib_task(n - 1)
    right = spawn_fib(n - 2)
    return left.get() + right


fib_task = mp.parallel(spawn_fib)


def spawns(n: int) -> int:
    """How many tasks `spawn_fib(n)` spawns."""
    return 0 if n < 2 else 1 + spawns(n - 1) + spawns(n - 2)


# --- queens ---------------------------------------------------------------------------------------


def queens(board: int, columns: int = 0, left: int = 0, right: int = 0) -> int:
    """In how many ways queens can stand in the remaining rows; the board's bits are its columns."""
    if columns == board:
        return 1
    found = 0
    free = board & ~(columns | left | right)
    while free:
        bit = free & -free
        free ^= bit
        found += queens(board, columns | bit, (left | bit) << 1, (right | bit) >> 1)
    return found


def spawn_queens(size: int, rows: int, columns: int = 0, left: int = 0, right: int = 0) -> int:
    """The same, with a task for each queen of the first rows; each makes its board, so as not to share the number."""
    board = (1 << size) - 1
    if rows == 0:
        return queens(board, columns, left, right)
    handles = []
    free = board & ~(columns | left | right)
    while free:
        bit = free & -free
        free ^= bit
        handles.append(queens_task(size, rows - 1, columns | bit, (left | bit) << 1, (right | bit) >> 1))
    return sum(handle.get() for handle in handles)


queens_task = mp.parallel(spawn_queens)

# --- quicksort ------------------------------------------------------------------------------------

#: Machine words: the objects of a list would belong to the thread that made them, and cost the others more.
Numbers = array[int]
#: Below so many items, no task; and below so many, no quicksort.
SERIAL, SMALL = 4_000, 12


def quicksort(items: Numbers) -> Numbers:
    if len(items) <= SMALL:
        return array("q", sorted(items))
    less, same, more = divide(items)
    return quicksort(less) + same + quicksort(more)


def divide(items: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    first, middle, last = items[0], items[len(items) // 2], items[-1]
    pivot = sorted((first, middle, last))[1]
    less, same, more = array("q"), array("q"), array("q")
    for item in items:
        if item < pivot:
            less.append(item)
        elif item > pivot:
            more.append(item)
        else:
            same.append(item)
    return less, same, more


def spawn_quicksort(items: Numbers) -> Numbers:
    """The same, with a task for one side of the pivot, as long as there are many items."""
    if len(items) <= SERIAL:
        return quicksort(items)
    less, same, more = divide(items)
    left = quicksort_task(less)
    right = spawn_quicksort(more)
    return left.get() + same + right


quicksort_task = mp.parallel(spawn_quicksort)


def numbers(count: int) -> Numbers:
    rng = Random(5)
    return array("q", [rng.getrandbits(40) for _ in range(count)])


# --- unbalanced tree --------------------------------------------------------------------------------

#: After so many nodes a task shares what it still has to do.
NODES = 1_000


def mix(state: int, child: int) -> int:
    """A child's state: a hash, so that the tree is the same in every order."""
    return hash((state, child))


def has_children(state: int) -> bool:
    """True for 21 of 85 nodes, which have 4 children each: most subtrees are tiny, few are large.

    The numbers are small on purpose: others are objects that all threads count references of.
    """
    return state % 85 < 21


def tree(nodes: list[int]) -> int:
    """How many nodes there are in these trees; the list is used up."""
    count = 0
    while nodes:
        state = nodes.pop()
        count += 1
        if has_children(state):
            for child in range(4):
                nodes.append(mix(state, child))
    return count


def spawn_tree(nodes: list[int]) -> int:
    """The same, sharing with another task now and then: how large a subtree is cannot be known before."""
    for count in range(NODES):
        if not nodes:
            return count
        state = nodes.pop()
        if has_children(state):
            for child in range(4):
                nodes.append(mix(state, child))
    half = tree_task(nodes[::2])
    return NODES + spawn_tree(nodes[1::2]) + half.get()


tree_task = mp.parallel(spawn_tree)


def forest(roots: int) -> int:
    return tree([mix(root, 0) for root in range(roots)])


def spawn_forest(roots: int) -> int:
    return spawn_tree([mix(root, 0) for root in range(roots)])


forest_task = mp.parallel(spawn_forest)
