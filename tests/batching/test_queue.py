"""The policy of batching: complete, bounded, fair."""

from hypothesis import given
from hypothesis import strategies as st

from ingrain.batching.queue import BatchLimits, BatchQueue, places_by_length

lengths = st.lists(st.lists(st.integers(1, 512), min_size=1, max_size=60), min_size=1, max_size=8)
limits = st.builds(
    BatchLimits,
    max_items=st.integers(1, 64),
    max_tokens=st.integers(1, 4096),
    overhead_tokens=st.integers(1, 4096),
    equal_lengths_only=st.booleans(),
    packs_tokens=st.booleans(),
)


class ItemQueue(BatchQueue):
    """Takes requests as pairs of payload and length, and hands out payloads."""

    def add(self, items, *, is_bulk=False):
        payloads, lengths = zip(*items, strict=True)
        super().add(payloads, places_by_length(lengths), is_bulk=is_bulk)

    def take(self, most_bulk_tokens=None):
        return [payloads[place] for payloads, places, _ in super().take(most_bulk_tokens).slices for place in places]


def drain(queue: ItemQueue) -> list[list]:
    batches = []
    while batch := queue.take():
        batches.append(batch)
    return batches


@given(lengths, limits, st.integers(2, 5))
def test_every_item_leaves_exactly_once_within_the_limits(requests, limits, bulk_in):
    """Whatever is queued comes out once, in batches no larger or more uneven than allowed."""
    queue = ItemQueue(limits)
    everything = []
    for number, request in enumerate(requests):
        items = [((number, index, length), length) for index, length in enumerate(request)]
        everything += [payload for payload, _ in items]
        queue.add(items, is_bulk=number % bulk_in == 0)
    batches = drain(queue)
    assert sorted(item for batch in batches for item in batch) == sorted(everything)
    assert len(queue) == queue.tokens == 0
    for batch in batches:
        sizes = [length for _, _, length in batch]
        cost = limits.cost(len(sizes), sum(sizes), max(sizes))
        assert sum(sizes) <= cost <= len(sizes) * max(sizes)
        assert len(sizes) <= limits.max_items
        assert len(sizes) == 1 or cost <= limits.max_tokens
        if limits.equal_lengths_only:
            assert len(set(sizes)) == 1
        if limits.packs_tokens:
            assert cost - sum(sizes) <= limits.overhead_tokens
        else:  # time per token, overhead included: no more than that of the first item alone
            alone = (limits.overhead_tokens + sizes[0]) / sizes[0]
            assert (limits.overhead_tokens + cost) / sum(sizes) <= alone + 1e-9


@given(st.integers(100, 2000), st.integers(1, 64))
def test_a_single_query_waits_for_about_one_batch_of_a_huge_request(size, length):
    """A request of one item that comes after a huge one is in one of the next two batches."""
    queue = ItemQueue(BatchLimits(max_items=32, max_tokens=4096))
    queue.add([("huge", 16)] * size)
    queue.take()
    queue.add([("single", length)])
    assert any("single" in queue.take() for _ in range(2))


def test_a_lone_long_item_is_not_overtaken_for_ever():
    """While short items keep coming, the long one that waits is served within a few batches."""
    queue = ItemQueue(BatchLimits(max_items=8, max_tokens=1024))
    queue.add([("short", 8)] * 100)
    queue.add([("long", 500)])
    batches = [queue.take()]
    while "long" not in batches[-1] and len(batches) < 200:
        queue.add([("short", 8)] * 8)
        batches.append(queue.take())
    assert len(batches) < 20


def test_an_item_longer_than_the_budget_gets_a_batch_of_its_own():
    queue = ItemQueue(BatchLimits(max_tokens=100))
    queue.add([("long", 500), ("long", 500)])
    assert queue.take() == ["long"]
    assert queue.take() == ["long"]


def test_similar_lengths_share_a_batch_and_different_ones_do_not():
    queue = ItemQueue(BatchLimits(overhead_tokens=16))
    queue.add([("a", 10), ("b", 100), ("c", 10), ("d", 98)])
    assert sorted(queue.take()) == ["a", "c"]
    assert sorted(queue.take()) == ["b", "d"]


def test_texts_of_any_length_share_a_batch_of_a_graph_that_computes_only_real_tokens():
    """As long as attention to padding takes no longer than another batch would take more."""
    lengths = [6, 11, 8, 10, 7, 9] * 5
    queue = ItemQueue(BatchLimits(max_items=32, max_tokens=260, packs_tokens=True))
    queue.add([("short", length) for length in lengths])
    assert [len(batch) for batch in drain(queue)] == [30]
    queue.limits = BatchLimits(max_items=32, max_tokens=260)
    queue.add([("short", length) for length in lengths])
    assert len(drain(queue)) == 4
    queue.limits = BatchLimits(max_items=32, max_tokens=512, packs_tokens=True)
    queue.add([("short", 8)] * 20 + [("long", 250)])
    assert [len(batch) for batch in drain(queue)] == [20, 1]


def test_the_clock_only_moves_forward():
    """A request that comes when old work has long been served does not jump before newer work."""
    queue = ItemQueue(BatchLimits(max_items=1))
    queue.add([("first", 10), ("second", 10)])
    queue.take()
    queue.take()
    queue.add([("third", 10)])
    queue.add([("fourth", 10)])
    assert queue.take() == ["third"]


def test_a_stream_of_single_queries_does_not_starve_a_request_of_two():
    """64 clients that always have one item waiting: the second item of an older request is served soon."""
    queue = ItemQueue(BatchLimits(max_items=32))
    queue.add([("single", 8)] * 1)
    for _ in range(63):
        queue.add([("single", 8)])
    queue.add([("pair", 8), ("pair", 8)])
    served = 0
    for rounds in range(50):  # noqa: B007 - counted
        batch = queue.take()
        served += batch.count("pair")
        if served == 2:
            break
        for _ in batch:
            queue.add([("single", 8)])
    assert served == 2
    assert rounds < 10


def test_forgotten_items_count_no_more_and_are_not_handed_out():
    gone = set()
    queue = ItemQueue(BatchLimits(), is_wanted=lambda payloads: payloads[0] not in gone)
    for item in [("first", 5), ("kept", 5), ("second", 9)]:
        queue.add([item])
    gone |= {"first", "second"}
    queue.forget(2, 14)
    assert (queue.tokens, len(queue)) == (5, 1)
    assert queue.take() == ["kept"]
    assert (queue.tokens, len(queue)) == (0, 0)
    assert queue.take() == []


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 12), st.booleans()), max_size=200), st.integers(1, 8))
def test_a_queue_that_forgets_hands_out_what_is_left_each_once(steps, max_items):
    """Any order of adding, forgetting and taking; compacting is brought about by a low bound."""
    gone: set[int] = set()
    waiting: dict[int, int] = {}
    queue = ItemQueue(BatchLimits(max_items=max_items), is_wanted=lambda numbers: numbers[0] not in gone)
    handed_out: list[int] = []
    for number, (choice, length, forgets) in enumerate(steps):
        if forgets and waiting:
            unwanted = list(waiting)[choice % len(waiting)]
            gone.add(unwanted)
            queue.forget(1, waiting.pop(unwanted), is_bulk=unwanted % 3 == 0)
        elif choice % 5 == 0:
            for taken in queue.take():
                handed_out.append(taken)
                del waiting[taken]
        else:
            queue.add([(number, length)], is_bulk=number % 3 == 0)
            waiting[number] = length
        assert (len(queue), queue.tokens) == (len(waiting), sum(waiting.values()))
    while batch := queue.take():
        handed_out += batch
        for taken in batch:
            del waiting[taken]
    assert not waiting
    assert not gone & set(handed_out)
    assert len(handed_out) == len(set(handed_out))


def test_forgetting_thousands_costs_no_look_at_each_of_the_others():
    """A queue of 200,000 forgets 2,000 requests one by one in much less time than 2,000 walks through it."""
    gone = set()
    looked = 0

    def is_wanted(numbers: tuple[int]) -> bool:
        nonlocal looked
        looked += 1
        return numbers[0] not in gone

    queue = ItemQueue(BatchLimits(), is_wanted=is_wanted)
    for number in range(200_000):
        queue.add([(number, 1 + number % 50)])
    for number in range(2_000):
        gone.add(number)
        queue.forget(1, 1 + number % 50)
    assert queue.take()
    assert looked < 10_000
    gone |= set(range(2_000, 150_000))
    queue.forget(148_000, sum(1 + number % 50 for number in range(2_000, 150_000)))
    assert len(queue) <= 50_000
    assert queue._small.size == len(queue)


def test_a_batch_that_pays_for_its_overhead_is_not_padded_and_a_small_one_is():
    """Ten tokens beside eleven: padding costs a token each, and saves a part of the overhead of another batch."""
    for count, batches in ((2, [4]), (30, [30, 30])):
        queue = ItemQueue(BatchLimits(max_items=32, overhead_tokens=16))
        queue.add([("ten", 10)] * count + [("eleven", 11)] * count)
        assert [len(batch) for batch in drain(queue)] == batches


def test_where_a_batch_takes_as_long_whatever_its_size_everything_is_merged():
    queue = ItemQueue(BatchLimits(max_items=32, max_tokens=4096, overhead_tokens=4096))
    queue.add([("item", length) for length in range(1, 33)])
    assert len(queue.take()) == 32


@given(st.lists(st.tuples(st.integers(1, 60), st.booleans()), min_size=1, max_size=80), st.integers(0, 200))
def test_batches_with_bulk_items_are_no_larger_than_asked(items, most):
    """Small items leave however little is allowed to bulk ones; bulk items stay when the first of them is too long."""
    queue = ItemQueue(BatchLimits(max_items=16))
    for length, is_bulk in items:
        queue.add([((length, is_bulk), length)], is_bulk=is_bulk)
    left = list(items)
    while batch := queue.take(most):
        for item in batch:
            left.remove(item)
        padded = len(batch) * max(length for length, _ in batch)
        assert padded <= most or not batch[-1][1]  # bulk items come last
    assert all(is_bulk for _, is_bulk in left)
    assert queue.small_tokens == 0
    assert queue.next_bulk_tokens() > most or not left


def test_a_small_request_goes_before_bulk_items_of_the_same_turn_and_is_joined_by_them():
    queue = ItemQueue(BatchLimits(max_items=4))
    queue.add([("bulk", 8)] * 8, is_bulk=True)
    queue.add([("small", 8)])
    assert queue.small_tokens == 8
    assert queue.take(8) == ["small"]
    assert queue.take() == ["bulk"] * 4
    queue.add([("small", 9)])
    assert sorted(queue.take()) == ["bulk", "bulk", "bulk", "small"]
    assert queue.take(0) == []
    assert len(queue) == 1


def test_a_batch_takes_a_part_of_the_items_of_one_length_and_the_rest_keeps_its_place():
    """A request of 10,000 items waits as one entry for each length, and its turn rises with what was taken."""
    queue = BatchQueue(BatchLimits(max_items=32))
    queue.add("bulk", {8: list(range(70)), 20: list(range(70, 80))}, is_bulk=True)
    assert queue.take().slices == [("bulk", list(range(32)), 8)]
    queue.add("other", {8: list(range(33))}, is_bulk=True)
    assert queue.take().slices == [("other", list(range(32)), 8)]
    assert queue.take().slices == [("bulk", list(range(32, 64)), 8)]
    assert len(queue) == 17
