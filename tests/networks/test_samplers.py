from dataclasses import replace

import numpy as np
import pytest
import torch

from crossview.errors import BadData, InvalidValue
from crossview.geo.points import LatLon, measure_distance_m
from crossview.networks.samplers import (
    draw_aerial_first,
    draw_batches,
    draw_mined_batches,
    draw_neighbour_batches,
    draw_regional_batches,
    nearest_places,
)
from crossview.training.contract import example_table


def seeded(number=0):
    return torch.Generator().manual_seed(number)


def two_rows_per_place(rows):
    table = example_table(rows)
    pairs = np.stack([np.arange(rows), np.arange(rows) // 2], axis=1)
    return replace(table, pairs=pairs)


def test_random_batches_are_full_and_use_every_row_at_most_once():
    order = list(draw_batches(example_table(50), 8, seeded()))
    assert [len(rows) for rows in order] == [8] * 6
    assert len({row for rows in order for row in rows}) == 48


def test_no_place_comes_twice_in_a_random_batch():
    table = two_rows_per_place(40)
    places = table.places()
    order = list(draw_batches(table, 8, seeded(1)))
    assert len(order) >= 4
    assert all(len(set(places[rows])) == 8 for rows in order)


def test_an_ignored_near_miss_is_never_a_negative():
    """Every ground picture is a near-miss of the next place."""
    ignored = np.stack([np.arange(39), np.arange(1, 40)], axis=1)
    table = replace(example_table(40), ignored=ignored)
    near = nearest_places(table, 8)
    orders = [
        draw_batches(table, 4, seeded(5)),
        draw_neighbour_batches(table, near, 4, seeded(5), 8),
    ]
    for rows in (rows for order in orders for rows in order):
        assert all(abs(one - other) != 1 for one in rows for other in rows)


def tiled(places=40):
    """Place n has tile n, and shows its two neighbours' tiles as well."""
    near = [(n, m) for n in range(places) for m in (n - 1, n + 1) if 0 <= m < places]
    return replace(example_table(places), ignored=np.array(near))


def test_of_a_mined_batch_one_half_is_random_and_the_other_like_it():
    table, rng = tiled(), np.random.default_rng(0)
    near = np.array([rng.permutation(np.setdiff1d(np.arange(40), n))[:6] for n in range(40)])
    order = list(draw_mined_batches(table, near, 6, seeded(2)))
    assert [len(rows) for rows in order] == [6] * (40 // 6)
    mined = [sum(row in near[first] for row in rows[3:] for first in rows[:3]) for rows in order]
    assert sum(mined) >= 0.9 * 3 * len(order)
    random = [row for rows in order for row in rows[:3]]
    assert len(set(random)) == len(random)
    for rows in order:  # no two show a common tile: neither one's match nor a near-miss of it
        assert all(abs(one - other) > 2 for one in rows for other in rows if one != other)


def test_before_vectors_are_compared_mined_batches_are_random_ones():
    table = tiled()
    expected = list(draw_batches(table, 4, seeded(3)))
    assert list(draw_mined_batches(table, None, 4, seeded(3))) == expected


def test_where_no_neighbour_fits_a_random_row_takes_its_place():
    """Everybody's only neighbours are rows 0 and 1, which show a common tile."""
    near = np.tile([[0, 1]], (40, 1))
    order = list(draw_mined_batches(tiled(), near, 4, seeded(4)))
    assert len(order) >= 5
    assert all(len(set(rows)) == 4 for rows in order)
    assert all(len({0, 1} & set(rows)) <= 1 for rows in order)


def test_too_few_places_give_no_batch():
    assert list(draw_batches(example_table(5), 8, seeded())) == []


def test_a_regional_batch_lies_in_one_neighbourhood_with_its_rows_apart():
    """Sixty places in a row, 50 m apart: within 600 m of a seed, every other place at most."""
    table = example_table(60)
    order = list(draw_regional_batches(table, 6, 600.0, 90.0, seeded(3)))
    assert len(order) >= 5
    rows = [row for batch in order for row in batch]
    assert len(rows) == len(set(rows)) == 6 * len(order)
    first = np.array(sorted(order[0]))
    assert first[-1] - first[0] <= 24
    assert all(np.diff(sorted(batch)).min() >= 2 for batch in order)


def test_no_place_comes_twice_in_a_regional_batch():
    table = two_rows_per_place(40)
    places = table.places()
    order = list(draw_regional_batches(table, 4, 500.0, 0.0, seeded(1)))
    assert len(order) >= 4
    assert all(len(set(places[rows])) == 4 for rows in order)


@pytest.mark.parametrize(("reach_m", "apart_m"), [(0.0, 0.0), (-900.0, 0.0), (30.0, 30.0)])
def test_a_region_of_no_size_is_refused(reach_m, apart_m):
    with pytest.raises(InvalidValue, match="cannot reach"):
        next(draw_regional_batches(example_table(9), 4, reach_m, apart_m, seeded()))


def test_regional_batches_need_places():
    unknown = np.full((4, 2), np.nan)
    table = replace(example_table(4), ground_latlon=unknown, aerial_latlon=unknown)
    with pytest.raises(BadData, match="4 of 4 pairs have no latitude"):
        next(draw_regional_batches(table, 2, 500.0, 0.0, seeded()))


def test_neighbours_are_the_nearest_in_true_metres():
    """At 60 degrees north a degree of longitude is half as long as one of latitude."""
    latlon = np.array([[60.0, 10.0], [60.0, 10.0015], [60.001, 10.0], [60.0, 10.003]])
    table = replace(example_table(4), ground_latlon=latlon)
    near = nearest_places(table, 3)
    metres = [measure_distance_m(LatLon(60, 10), LatLon(*p)) for p in latlon[near[0]]]
    assert near[0].tolist() == [1, 2, 3]
    assert metres == sorted(metres)


def test_another_row_of_the_same_place_is_no_neighbour():
    near = nearest_places(two_rows_per_place(8), 128)
    assert near.shape == (8, 6)
    assert all(other // 2 != row // 2 for row in range(8) for other in near[row])


def test_neighbours_need_places():
    table = example_table(4)
    unknown = np.full((4, 2), np.nan)
    with pytest.raises(BadData, match="4 of 4 pairs have no latitude"):
        nearest_places(replace(table, ground_latlon=unknown, aerial_latlon=unknown), 2)


def plain_order(near, pool, size, draws):
    """The epoch of singeo.md 1.9, word by word, for rows that are all different places."""
    used, batch, out = set(), [], []
    pool = list(pool)
    while pool:
        i = pool.pop(0)
        if i in used:
            continue
        batch.append(i)
        used.add(i)
        for j in [*near[i][:2], *draws(near[i][2:])]:
            if len(batch) == size:
                break
            if j not in used:
                batch.append(int(j))
                used.add(int(j))
        if len(batch) == size:
            out.append(batch)
            batch = []
    return out


def test_neighbour_batches_follow_the_published_order():
    table = example_table(30)
    near = nearest_places(table, 6)
    replay = seeded(4)
    pool = torch.randperm(30, generator=replay).tolist()

    def draws(far):
        return far[torch.randperm(len(far), generator=replay)[:2].numpy()]

    ours = list(draw_neighbour_batches(table, near, 4, seeded(4), select=4))
    assert ours == plain_order(near, pool, 4, draws)


def test_an_early_neighbour_batch_is_a_seed_and_its_nearest():
    table = example_table(200)
    first = next(iter(draw_neighbour_batches(table, nearest_places(table, 20), 8, seeded(), 16)))
    assert max(abs(row - first[0]) for row in first) <= 8


def test_neighbour_batches_hold_a_place_and_a_row_once():
    table = two_rows_per_place(60)
    order = list(draw_neighbour_batches(table, nearest_places(table, 20), 8, seeded(2), 16))
    places = table.places()
    assert all(len(set(places[rows])) == len(rows) == 8 for rows in order)
    assert len({r for rows in order for r in rows}) == sum(map(len, order))


def test_every_aerial_picture_comes_twice_with_one_of_its_panoramas():
    table = replace(example_table(12), pairs=np.array([[g, g // 2] for g in range(12)]))
    rows = list(draw_aerial_first(table, 3, torch.Generator().manual_seed(1)))
    assert [len(batch) for batch in rows] == [3, 3, 3, 3]
    shown = [int(table.pairs[row, 1]) for batch in rows for row in batch]
    assert sorted(shown) == sorted([*range(6), *range(6)])
    assert all(len({int(table.pairs[row, 1]) for row in batch}) == 3 for batch in rows)


def test_the_panorama_of_an_aerial_picture_is_drawn_anew():
    table = replace(example_table(12), pairs=np.array([[g, g // 6] for g in range(12)]))
    drawn = {
        row
        for seed in range(60)
        for batch in draw_aerial_first(table, 2, torch.Generator().manual_seed(seed))
        for row in batch
    }
    assert drawn == set(range(12))
