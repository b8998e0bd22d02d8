"""Filters and pages, held against a plain model in Python."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tesgw.errors import InvalidQuery
from tesgw.model import Dialect, View
from tesgw.states import TES_1_0, State
from tesgw.store import TaskQuery, TaskStore, queries
from tesgw.store.queries import prefix_end
from tests.store.making import complete, listed, new, page, seen

# What sorts or matches in surprising ways: LIKE's letters, case, the ends of the code points and of the surrogates.
LETTERS = ["a", "A", "%", "_", "é", "e\u0301", "\ud7ff", "\ue000", "\uffff", "\U00010000", "\U0010ffff", "*", "'", "\x00"]
WORDS = st.lists(st.sampled_from(LETTERS), max_size=3).map("".join)
KEYS = ["k", "K", "é", ""]
VALUES = ["", "v", "%", "\U0010ffff"]


@dataclass(frozen=True)
class Known:
    """A task as the model knows it."""

    id: str
    name: str
    state: State
    tags: dict[str, str]

    def fits(self, query: TaskQuery) -> bool:
        state = TES_1_0.get(self.state, self.state) if query.dialect is Dialect.TES_1_0 else self.state
        return (
            self.name.startswith(query.name_prefix)
            and query.state in (None, state)
            and all(key in self.tags and value in ("", self.tags[key]) for key, value in query.tags)
        )


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def filled(runner: asyncio.Runner) -> Iterator[tuple[TaskStore, list[Known]]]:
    """A store and what it holds, newest first."""
    store = runner.run(TaskStore.open("sqlite://"))
    yield store, runner.run(_fill(store))
    runner.run(store.close())


async def _fill(store: TaskStore) -> list[Known]:
    dice = random.Random(1)
    known = []
    for n in range(150):
        name = "".join(dice.choices(LETTERS, k=dice.randrange(4)))
        tags = {key: dice.choice(VALUES) for key in KEYS if dice.random() < 0.5}
        state = dice.choice([State.QUEUED, State.RUNNING, State.CANCELING, State.CANCELED, State.COMPLETE])
        await store.add(new(f"t{n}", name=name, tags=tags))
        if state in (State.CANCELING, State.CANCELED):
            await store.cancel(f"t{n}")
        await store.record([complete(f"t{n}-1") if state is State.COMPLETE else seen(f"t{n}-1", state)])
        known.append(Known(f"t{n}", name, state, tags))
    return known[::-1]


@pytest.mark.parametrize("enough", [1, 10_000], ids=["names are common", "names are rare"])
def test_pages_hold_exactly_what_fits_newest_first(
    filled: tuple[TaskStore, list[Known]], runner: asyncio.Runner, enough: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, known = filled
    monkeypatch.setattr(queries, "_ENOUGH", enough)
    queries._count_names.cache_clear()
    queries._count_tag.cache_clear()

    @settings(max_examples=150, deadline=None)
    @given(
        name_prefix=WORDS,
        state=st.none() | st.sampled_from(State),
        tags=st.lists(st.tuples(st.sampled_from(KEYS), st.sampled_from(VALUES)), max_size=3).map(tuple),
        view=st.sampled_from(View),
        dialect=st.sampled_from(Dialect),
        page_size=st.integers(1, 40),
    )
    def check(**filters: Any) -> None:
        query = TaskQuery(**filters)

        assert runner.run(listed(store, **filters)) == [task.id for task in known if task.fits(query)]

    check()


@given(WORDS, WORDS)
def test_text_is_below_the_end_of_its_prefix_and_nothing_else_is(prefix: str, text: str) -> None:
    end = prefix_end(prefix)
    is_between = prefix <= text and (not end or text < end)

    assert is_between == text.startswith(prefix)


async def test_every_task_is_shown_once_while_others_are_added(store: TaskStore) -> None:
    for n in range(7):
        await store.add(new(f"old{n}"))
    shown, token = [], ""
    for n in range(4):
        answer = await page(store, page_size=2, page_token=token)
        shown += [task["id"] for task in answer["tasks"]]
        token = answer.get("next_page_token", "")
        await store.add(new(f"new{n}"))

    assert shown == [f"old{n}" for n in reversed(range(7))]
    assert token == ""


async def test_last_page_has_no_token(store: TaskStore) -> None:
    assert await page(store) == {"tasks": []}
    for n in range(4):
        await store.add(new(f"t{n}"))

    first = await page(store, page_size=2)
    assert list(await page(store, page_size=2, page_token=first["next_page_token"])) == ["tasks"]
    assert list(await page(store, page_size=4)) == ["tasks"]


@pytest.mark.parametrize("other", [{"name_prefix": "t"}, {"state": State.QUEUED}, {"tags": (("k", ""),)}], ids=str)
async def test_token_is_bound_to_its_filters(store: TaskStore, other: dict[str, Any]) -> None:
    for n in range(3):
        await store.add(new(f"t{n}", name="t", tags={"k": ""}))
    plain = (await page(store, page_size=1))["next_page_token"]
    bound = (await page(store, page_size=1, **other))["next_page_token"]

    with pytest.raises(InvalidQuery, match="page_token"):
        await page(store, page_token=plain, **other)
    with pytest.raises(InvalidQuery, match="page_token"):
        await page(store, page_token=bound)


async def test_token_is_good_for_any_page_size_and_view(store: TaskStore) -> None:
    for n in range(4):
        await store.add(new(f"t{n}"))
    token = (await page(store, page_size=1))["next_page_token"]

    answer = await page(store, page_size=2, view=View.FULL, page_token=token)
    assert [task["id"] for task in answer["tasks"]] == ["t2", "t1"]


@pytest.mark.parametrize("token", ["x", "é", "AAAA", "A" * 20, "=" * 20, "A" * 10_000, "\x00", " "])
async def test_bad_token_is_refused(store: TaskStore, token: str) -> None:
    with pytest.raises(InvalidQuery, match="page_token"):
        await page(store, page_token=token)


async def test_hundreds_of_tags_can_be_asked_for(store: TaskStore) -> None:
    tags = {f"k{n}": "v" for n in range(200)}
    await store.add(new("a", tags=tags))
    await store.add(new("b", tags={"k0": "v"}))

    assert await listed(store, tags=tuple(tags.items())) == ["a"]
