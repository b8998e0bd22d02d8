from __future__ import annotations

import asyncio

from tesgw.loops import Backoff, WorkQueue, every


async def test_a_failing_tick_is_tried_again() -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        ticks += 1
        if ticks == 1:
            raise ValueError("once")
        if ticks == 3:
            raise asyncio.CancelledError

    await asyncio.gather(every(0, tick), return_exceptions=True)

    assert ticks == 3


async def test_a_wake_comes_before_the_time() -> None:
    wake, ticked = asyncio.Event(), asyncio.Semaphore(0)

    async def tick() -> None:
        ticked.release()

    loop = asyncio.create_task(every(3600, tick, wake=wake))
    await ticked.acquire()
    wake.set()
    await ticked.acquire()

    loop.cancel()


async def test_one_key_is_never_worked_on_twice_at_once_and_a_late_hint_is_not_lost() -> None:
    running: list[str] = []
    done: list[str] = []
    go, started = asyncio.Event(), asyncio.Semaphore(0)

    async def work(key: str) -> None:
        assert key not in running
        running.append(key)
        started.release()
        await go.wait()
        running.remove(key)
        done.append(key)

    queue = WorkQueue(work, workers=4)
    loop = asyncio.create_task(queue.run())
    for key in ("a", "a", "b"):
        queue.put(key)
    await started.acquire()
    await started.acquire()
    queue.put("a")
    go.set()
    await queue.idle()

    assert sorted(done) == ["a", "a", "b"]
    loop.cancel()


async def test_a_failing_key_stops_no_other() -> None:
    done: list[str] = []

    async def work(key: str) -> None:
        if key == "bad":
            raise ValueError(key)
        done.append(key)

    queue = WorkQueue(work, workers=1)
    loop = asyncio.create_task(queue.run())
    for key in ("bad", "good"):
        queue.put(key)
    await queue.idle()

    assert done == ["good"]
    loop.cancel()


def test_pauses_grow_to_their_most_and_start_again_after_a_reset() -> None:
    backoff = Backoff(1, 5)

    assert [backoff.pause() for _ in range(4)] == [1, 2, 4, 5]
    backoff.reset()
    assert backoff.pause() == 1
