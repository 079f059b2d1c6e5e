"""The first dozen lines: decorate a function, call it, gather what the calls return."""

import makeparallel as mp


@mp.parallel
def count_primes(start: int, stop: int) -> int:
    """Count the primes in a range by trial division."""
    return sum(all(number % divisor for divisor in range(2, int(number**0.5) + 1)) for number in range(start, stop))


# A call is a task: it returns a handle at once, and the work runs on another core meanwhile.
handles = [count_primes(start, start + 10_000) for start in range(10_000, 90_000, 10_000)]
print("primes in each range:", mp.gather(handles))

# For a function over many items, parallel_map makes the tasks, and gives the results in order.
print("powers of three:", mp.parallel_map(pow, [3] * 8, range(8)))
