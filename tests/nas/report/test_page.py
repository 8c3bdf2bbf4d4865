import json
import math
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from blocks.errors import QueryError, StoreError
from nas.report.page import collect, payload, write_page
from nas.report.page.payload import packed
from nas.report.page.write import embedded, page
from nas.store import Store
from runners.protocol import Failed, Rejected, Stopped

Make = Callable[..., Any]
ODD = ("empty", "failures", "one", "equal", "not_a_number", "one_class", "no_objectives")


class Elements(HTMLParser):
    """Which elements a page has, and what its data are, as a browser would read them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.data = ""
        self._in_data = False
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._in_data = ("id", "study") in attributes

    def handle_endtag(self, tag: str) -> None:
        self._in_data = False

    def handle_data(self, data: str) -> None:
        if self._in_data:
            self.data += data


def content_of(store: Store, name: str, **more: Any) -> dict[str, Any]:
    return payload(collect(store, name, **more))


def test_the_page_holds_plotly_once_and_fetches_nothing(filled: Store, tmp_path: Path) -> None:
    from plotly.offline import get_plotlyjs

    write_page(tmp_path / "report.html", content_of(filled, "camvid"))

    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert text.count(get_plotlyjs()) == 1
    assert len(text) < 10_000_000
    found = Elements(text)
    assert found.tags.count("script") == 3
    assert not {"link", "img", "iframe", "object"} & set(found.tags)
    assert "{{" not in text.replace(get_plotlyjs(), "").split("<body>")[0]


def test_what_the_page_says_is_what_the_store_holds(filled: Store) -> None:
    content = content_of(filled, "camvid")

    assert content["counts"] == {"finished": 4, "interrupted": 1, "running": 1}
    assert content["front"] == [0, 1, 3]
    assert content["columns"]["miou"] == [0.2, 0.4, 0.35, 0.5, 0.1, None]
    assert content["columns"]["context"] == {
        "levels": ["none", "ppm", "psa", "aspp"],
        "codes": [0, 1, 1, 2, 2, 3],
    }
    assert content["curves"]["1"]["miou"] == [0.2, 0.3, 0.4]
    assert content["choices"]["context.ppm.channels"]["levels"] == [None, "512", "256"]
    assert content["axes"]["macs"] == "min"
    assert content["axes"]["miou"] == "max"
    assert "latency_ms" not in content["axes"]
    assert content["reference"] == {"miou": 0.0, "macs": 4e10}
    assert content["progress"][-1]["epochs"] == 12
    assert 0 < content["progress"][-1]["share"] < 1


def test_everything_that_is_text_stays_text(store: Store, hostile: Make, hostile_text: str) -> None:
    hostile(store)

    text = page(content_of(store, hostile_text))

    found = Elements(text)
    assert found.tags.count("script") == 3
    assert "img" not in found.tags
    assert "<img" not in text
    read = json.loads(found.data)
    assert read["name"] == hostile_text
    assert read["provenance"][0]["command"] == hostile_text
    assert read["failures"][0]["reason"] == hostile_text
    assert hostile_text in read["columns"]["model"]["levels"]
    assert hostile_text in read["space"]


@pytest.mark.parametrize("text", ["</script>", "<!--<script>", "\u2028", "'\"\\", "\x00\x1f", "{{title}}", "\ud800"])
def test_data_never_end_their_element(text: str) -> None:
    written = embedded({text: [text]})

    assert "<" not in written
    assert "\u2028" not in written
    assert json.loads(written) == {text: [text]}
    written.encode()


def test_the_commands_are_quoted_for_the_shell(store: Store, add: Make) -> None:
    study = store.create_study("it's; rm -rf", space="", objectives={"miou": "max"}, budget={}, seed=0)
    add(store, study)

    content = payload(collect(store, "it's; rm -rf"), store="my store.db")

    show = content["commands"][0]
    assert show["before"] == "nas show 'it'\"'\"'s; rm -rf' "
    assert show["after"] == " --store 'my store.db'"


def test_failures_are_grouped_by_their_reason(store: Store, study_id: int, add: Make) -> None:
    for seed in range(3):
        add(store, study_id, seed=seed, mious=(), outcome=Failed("out of memory\nat 12:01", "Traceback", "log"))
    add(store, study_id, seed=3, mious=(), outcome=Failed("", "", ""))
    add(store, study_id, seed=4, mious=(), outcome=Rejected("macs", 2e10, 1e10))

    failures = content_of(store, "camvid")["failures"]

    assert [(group["state"], group["reason"], group["trials"]) for group in failures] == [
        ("failed", "out of memory", [0, 1, 2]),
        ("failed", "no reason was recorded", [3]),
        ("rejected", "MACs above 10.0 G", [4]),
    ]
    assert (failures[0]["traceback"], failures[0]["log"]) == ("Traceback", "log")


def test_rungs_say_who_reached_them_and_who_went_on(store: Store, add: Make) -> None:
    space = """
data: shapes
architecture: {backbone: {timm: {model: resnet18}}}
training: {epochs: 3}
search: {early_stopping: {pareto_asha: {grace: 1, eta: 2}}}
"""
    goals = {"miou": "max", "macs": "min"}
    study = store.create_study("camvid", space=space, objectives=goals, budget={}, seed=0)
    add(store, study, seed=0)
    add(store, study, seed=1, mious=(0.1,), outcome=Stopped(rung=1, missing=1.0))
    add(store, study, seed=2, mious=(0.15, 0.2), outcome=Stopped(rung=2, missing=0.5))
    add(store, study, seed=3, mious=(), outcome=Failed("boom", "", ""))

    rungs = content_of(store, "camvid")["rungs"]

    assert [(rung["epochs"], rung["trials"], rung["went_on"]) for rung in rungs] == [
        (1, [0, 1, 2], [True, False, True]),
        (2, [0, 2], [True, False]),
    ]
    assert rungs[0]["miou"] == [0.1, 0.1, 0.15]


def test_rungs_show_in_a_study_whose_space_cannot_be_read(store: Store, study_id: int, add: Make) -> None:
    add(store, study_id, seed=0)
    add(store, study_id, seed=1, mious=(0.1, 0.2), outcome=Stopped(rung=2, missing=0.5))

    (rung,) = content_of(store, "camvid")["rungs"]

    assert (rung["epochs"], rung["went_on"]) == (2, [True, False])


def test_a_replayed_trial_has_the_curve_of_the_one_that_was_trained(store: Store, study_id: int, add: Make) -> None:
    trained = add(store, study_id, mious=(0.1, 0.2, 0.3))
    store.replay(add(store, study_id, mious=(), outcome=None), trained)

    content = content_of(store, "camvid")

    assert content["curves"]["1"] == content["curves"]["0"]
    assert content["front"] == [0]


def test_of_too_many_trials_the_front_and_a_sample_are_on_the_page(store: Store, many: Make, add: Make) -> None:
    many(store, add, 60)
    whole = content_of(store, "camvid")

    content = content_of(store, "camvid", most=30)

    numbers = content["columns"]["number"]
    assert len(numbers) <= 30
    assert numbers == sorted(numbers)
    on_front = {whole["columns"]["number"][index] for index in whole["front"]}
    assert {numbers[index] for index in content["front"]} == on_front
    assert content["counts"] == whole["counts"]
    assert "this page holds" in content["notes"][0]
    assert whole["notes"] == []


@pytest.mark.parametrize("odd", ODD, indirect=True)
def test_odd_studies_have_a_page(odd: Store) -> None:
    content = content_of(odd, "odd")

    assert json.loads(Elements(page(content)).data)["name"] == "odd"


def test_columns_are_packed() -> None:
    assert packed([1, 2.5, None]) == [1, 2.5, None]
    assert packed([math.nan, math.inf, 0.1]) == [None, None, 0.1]
    assert packed([None, None]) == {"levels": [None], "codes": None}
    assert packed(["a", "a"]) == {"levels": ["a"], "codes": None}
    assert packed(["a", None, "a"]) == {"levels": ["a", None], "codes": [0, 1, 0]}
    assert packed([(1, 2), (1, 2.0)]) == {"levels": ["[1,2]"], "codes": None}
    # A browser counts exactly up to 2^53 only.
    assert packed([2**60]) == {"levels": [str(2**60)], "codes": None}


def test_an_unknown_study_gets_the_nearest_name(filled: Store) -> None:
    with pytest.raises(QueryError, match="Did you mean 'camvid'"):
        collect(filled, "camvdi")


def test_a_page_that_cannot_be_written_is_said_so(filled: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"^--output needs a file that can be written"):
        write_page(tmp_path / "absent" / "report.html", content_of(filled, "camvid"))


def test_a_shorter_training_does_not_pass_for_final(store: Store, study_id: int, add: Make) -> None:
    for seed in range(3):
        add(store, study_id, seed=seed, mious=(0.1, 0.2, 0.3))
    add(store, study_id, seed=3, mious=(0.1, 0.9))

    content = content_of(store, "camvid")

    assert content["usual"] == 3
    assert content["front"] == [0, 1, 2]
