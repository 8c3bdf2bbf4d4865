import pytest

from blocks.errors import QueryError
from nas.report.literature import literature


@pytest.mark.slow
def test_published_results_meet_the_cost_at_the_size_that_they_were_got_at() -> None:
    rows = {row["network"]: row for row in literature("Cityscapes")}
    assert len(rows) > 25
    # Tested on whole images, though the paper states costs for half their size.
    assert (rows["stdc1_seg"]["size"], rows["stdc1_seg"]["miou"]) == ("1024x2048", 0.7494)
    assert rows["stdc2_seg"]["size"] == "768x1536"
    # The file describes the network for ADE20K, which has more classes.
    assert (rows["pspnet_r50"]["size"], rows["pspnet_r50"]["classes"]) == ("1024x2048", 19)
    assert list(rows) == sorted(rows, key=lambda name: rows[name]["macs"])
    for row in rows.values():
        assert row["data"].startswith("Cityscapes")
        assert row["source"]
        assert row["published"] is True
        assert 0.5 < row["miou"] < 0.9
        assert row["params"] > 1e5


def test_a_data_set_without_results_is_refused() -> None:
    with pytest.raises(QueryError, match="Did you mean 'ade20k'"):
        literature("ADE-20")
