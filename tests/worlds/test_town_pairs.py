"""Training pairs of towns: what another plan asks for in the same folder is rendered anew."""

from crossview.worlds.town_pairs import TownPlan, ensure_pairs


def test_more_pairs_of_a_town_are_not_taken_from_a_shorter_list(tmp_path):
    for count in (1, 2):
        plan = TownPlan(("suburb",), 1, count, 0, side_m=320.0)
        header, *rows = ensure_pairs(tmp_path, plan, workers=1).read_text("utf-8").splitlines()
        assert header.startswith("ground,aerial,")
        assert len(rows) == count
