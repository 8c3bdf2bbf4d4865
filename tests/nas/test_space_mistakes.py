"""Every mistake is found at once, says where it stands, what was expected, and what was probably meant."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from blocks.catalogue import catalogue
from blocks.errors import SpaceError
from nas.space import Space

HEADS = ", ".join(sorted(catalogue("head")))
HEAD = "data: shapes\narchitecture:\n  backbone: timm\n"


def mistakes(text: str | bytes, folder: Path) -> list[str]:
    """The lines of the error that a file gives, without the file's name."""
    path = folder / "s.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SpaceError) as caught:
        Space.load(path)
    title, *lines = str(caught.value).splitlines()
    assert re.fullmatch(rf"{len(lines)} mistakes? in the search space s", title)
    return [line.removeprefix(f"{path}:") for line in lines]


# What is appended to HEAD (or replaces it, with a leading newline), and the one line that must come out.
CASES = {
    "unknown section": ("serach: {}", "4:1: A search space needs sections that exist: got key='serach'. Did you mean 'search'?"),
    "unknown slot": ("  contxt: none", "4:3: architecture needs slots that exist: got key='contxt'. Did you mean 'context'?"),
    "unknown component": ("  context: pppm", "4:12: architecture.context needs a component that exists: got context='pppm'. Did you mean 'ppm'?"),
    "unknown option": ("  context: {ppm: {binz: [1]}}", "4:19: architecture.context.ppm needs options that exist: got option='binz'. Did you mean 'bins'?"),
    "quoted number": ("  context: {ppm: {channels: '512'}}", "4:29: architecture.context.ppm.channels needs int: got channels='512'. Remove the quotes."),
    "yes is text": ("  align: {ifa: {unfold: yes}}", "4:25: architecture.align.ifa.unfold needs true or false: got unfold='yes'. Change the value."),
    "true is no number": ("training: {epochs: true}", "4:20: training.epochs needs int: got epochs=True. Change the value."),
    "float is no int": ("training: {epochs: 8.0}", "4:20: training.epochs needs int: got epochs=8.0. Change the value."),
    "out of bounds": ("training: {epochs: 0}", "4:20: training.epochs needs int from 1 to 100000: got epochs=0. Change the value."),
    "fewer steps than rounds": ("training: {iterations: 7, epochs: 8}", "4:12: training.iterations needs a step for every epoch: got iterations=7, epochs=8. Write fewer epochs: rounds of iterations."),
    "perhaps fewer steps": ("training: {iterations: {choice: [0, 50, 9]}, epochs: {int: [4, 12], step: 4}}", "4:12: training.iterations needs a step for every epoch: got iterations=9, epochs=12. Write fewer epochs: rounds of iterations."),
    "bad word": ("training: {optimizer: adamv}", "4:23: training.optimizer needs one of adamw, sgd: got optimizer='adamv'. Did you mean 'adamw'?"),
    "bad choice": ("training: {batch: {choice: [4, x]}}", "4:32: training.batch needs int: got batch='x'. Change the value."),
    "same choice twice": ("training: {clip: {choice: [1, 1.0]}}", "4:31: training.clip needs each choice once: got choice=1.0. Remove one of them."),
    "same component twice": ("  head: {choice: [ssa, ssa]}", "4:24: architecture.head needs each choice once: got choice='ssa'. Remove one of them."),
    "empty choice": ("  head: {choice: []}", "4:18: architecture.head needs components to choose from: got choice=[]. Write {choice: [a, b]}."),
    "alternatives without choice": ("  head: [linear, ssa]", "4:9: architecture.head needs the name of one component: got value=['linear', 'ssa']. Several are written {choice: [...]}; known: " + HEADS + "."),
    "two components": ("  head: {linear: , ssa: }", "4:9: architecture.head needs the name of one component: got value=['linear', 'ssa']. Several are written {choice: [...]}; known: " + HEADS + "."),
    "bounds swapped": ("training: {batch: {int: [8, 4]}}", "4:19: training.batch needs low below high: got int=[8, 4]. Swap them, or write the one value."),
    "off the grid": ("training: {batch: {int: [1, 8], step: 2}}", "4:19: training.batch needs high a whole number of steps above low: got high=8, step=2. End at 7."),
    "log from zero": ("training: {clip: {float: [0, 8], log: true}}", "4:18: training.clip needs low above 0 and no step where log is true: got low=0, step=None. Remove log."),
    "floats for an int": ("training: {batch: {float: [1, 8]}}", "4:19: training.batch needs int: got range='float from 1.0 to 8.0'. Change the bounds or the kind."),
    "range for words": ("training: {optimizer: {int: [1, 8]}}", "4:23: training.optimizer needs one of a list, one of adamw, sgd: got range='int from 1 to 8'. Write {choice: [...]}."),
    "range out of bounds": ("training: {flip: {float: [0, 8]}}", "4:18: training.flip needs float from 0 to 1: got range='float from 0.0 to 8.0'. Change the bounds or the kind."),
    "half a question": ("training: {batch: {int: [1, 8], stpe: 1}}", "4:33: training.batch needs the keys of a question `int`: got key='stpe'. Did you mean 'step'?"),
    "no question": ("training: {batch: {chioce: [1, 8]}}", "4:19: training.batch needs a value or one question: got keys=['chioce']. Write a value, {choice: [...]} or {int: [low, high]}. Did you mean 'choice'?"),
    "never active": ("training: {momentum: 0.5}", "4:12: training.momentum needs optimizer to be sgd: got optimizer='adamw'. Remove it or set optimizer."),
    "unknown shared": ("training: {batch: {shared: w}}", "4:19: training.batch needs the name of a question under `shared:`: got shared='w'. Known: none."),
    "shared does not fit": ("shared: {w: {choice: [0]}}\ntraining: {batch: {shared: w}}", "5:19: training.batch needs int from 1 to 65536: got batch=0. Change the value."),
    "losses": ("training: {losses: {main: dicee}}", "4:27: training.losses.main needs a component that exists: got loss='dicee'. Did you mean 'dice'?"),
    "objective": ("objectives: {mIoU: max}", "4:14: objectives needs figures that exist: got key='mIoU'. Did you mean 'miou'?"),
    "sense": ("objectives: {miou: min}", "4:20: objectives.miou needs max: got miou='min'. Write miou: max."),
    "budget": ("budget: {macs: '10e9'}", "4:16: budget.macs needs float: got macs='10e9'. Remove the quotes."),
    "negative budget": ("budget: {params: -1}", "4:18: budget.params needs float >= 1e-09: got params=-1. Change the value."),
    "alias twice": ("budget: {macs: 1, flops: 2}", "4:19: budget needs each figure once: got key='flops'. It is macs, which is there already."),
    "sampler": ("search: {sampler: nsga}", "4:19: search.sampler needs one name that exists: got sampler='nsga'. Did you mean 'nsga3'?"),
    "sampler option": ("search: {sampler: {tpe: {strtup: 3}}}", "4:26: search.sampler.tpe needs keys that exist: got key='strtup'. Did you mean 'startup'?"),
    "grid over floats": ("search: {sampler: grid}\ntraining: {flip: {float: [0, 1]}}", "4:10: The grid sampler needs discrete questions alone: got question='training.flip'. Give it a step."),
    "early stopping": ("search: {early_stopping: {pareto_asha: {eta: 1}}}", "4:46: search.early_stopping.pareto_asha.eta needs int from 2 to 16: got eta=1. Change the value."),
    "resources": ("resources: {gpus: 1}", "4:13: resources needs keys that exist: got key='gpus'. Did you mean 'gpu'?"),
    "resource of another": ("resources: {gpu: 1, gpu_bytes: 8.0e9}", "4:21: resources.gpu_bytes needs gpu to be auto: got gpu=1.0. Remove it or set gpu."),
    "forbid place": ("forbid: [{contxt: psa}]", "4:11: forbid needs places that exist: got place='contxt'. Did you mean 'context'?"),
    "forbid value": ("forbid: [{context: pza}]", "4:20: forbid architecture.context needs components that exist: got value='pza'. Did you mean 'psa'?"),
    "forbid everything": ("forbid: [{head: linear}]", "4:1: A search space needs an architecture that `forbid:` allows: got architectures=0. Forbid less."),
    "duplicate key": ("name: a\nname: b", "5:1: A mapping needs each key once: got key='name'. It stands in line 4 already."),
    "name": ("name: 2024", "4:7: name needs text of 1 to 100 characters: got name=2024. Quote it if it is a number."),
    "tag": ("name: !!str a", "4:7: A search space needs plain values, no tags: got tag='tag:yaml.org,2002:str'. Remove it."),
    "infinite": ("budget: {macs: .inf}", "4:16: A number needs to be finite: got value='.inf'. Write a number."),
    "place missing": ("\ndata: camvid\narchitecture: {backbone: timm}", "2:7: data.camvid.root needs a path: got root=None. Write root: \"${CAMVID}\" or --set data.camvid.root=PATH."),
    "data option": ("\ndata: {shapes: {sise: [64, 64]}}\narchitecture: {backbone: timm}", "2:17: data.shapes needs keys that exist: got key='sise'. Did you mean 'size'?"),
    "samples of any size": ("\ndata: {camvid: {root: x, short: 360}}\narchitecture: {backbone: timm}", "2:7: training.evaluation needs whole or sliding, as samples differ in size: got evaluation='resized', data.camvid.short=360. Write training.evaluation: whole."),
    "samples of any size, asked": ("\ndata: {camvid: {root: x, short: 360}}\narchitecture: {backbone: timm}\ntraining:\n  evaluation: {choice: [whole, resized]}", "5:3: training.evaluation needs whole or sliding, as samples differ in size: got evaluation='resized', data.camvid.short=360. Write training.evaluation: whole."),
    "a longer side alone": ("\ndata: {camvid: {root: x, long: 360}}\narchitecture: {backbone: timm}", "2:7: data.camvid.long needs a shorter side that is at most as long: got short=None, long=360. Write short, or drop long."),
    "no data": ("\narchitecture: {backbone: timm}", "2:1: A search space needs the section `data`: got data=None. Write data: shapes."),
    "no backbone": ("\ndata: shapes\narchitecture: {head: ssa}", "3:15: architecture needs a backbone: got backbone=None. Write backbone: {timm: {model: resnet18}}."),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_mistake_says_where_and_what(case: str, tmp_path: Path) -> None:
    text, expected = CASES[case]
    assert mistakes(text if text.startswith("\n") else HEAD + text, tmp_path) == [expected]


def test_all_of_them_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    rows = ["  head: sssa", "training: {epochs: x, batch: y}", "budget: {mac: 1}", "bogus: 1", "name: !!python/none a"]
    found = mistakes(HEAD + "\n".join(rows), tmp_path)
    assert [line.split(":")[0] for line in found] == ["4", "5", "5", "6", "7", "8"]


def test_flow_mapping_without_space_is_explained(tmp_path: Path) -> None:
    found = mistakes(HEAD + "  context: {choice: {none:, psa:}}", tmp_path)
    assert (
        "4:22: A name needs no colon at its end: got key='none:'. Write a space after the colon: {none: , ...}."
        in found
    )


def test_a_thousand_mistakes_are_cut_short() -> None:
    with pytest.raises(SpaceError) as caught:
        Space.loads(HEAD + "\n".join(f"x{i}: 1" for i in range(1000)))
    lines = str(caught.value).splitlines()
    assert lines[0] == "1000 mistakes in the search space space"
    assert lines[-1] == "... and 950 more"
    assert len(lines) == 52


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"data: \xff\xfe", "1:7: A search space needs UTF-8 text: got byte='0xff'. Save it as UTF-8."),
        (b"data: a\x00b", "A search space needs well-formed YAML"),
        (b"data: [1, 2", "A search space needs well-formed YAML"),
        (b"data: {a: b: c}", "A search space needs well-formed YAML"),
        (b'data: "\\UFFFFFFFF"', "A search space needs well-formed YAML"),
        (b"a: 1\n---\nb: 2\n", "2:1: A search space needs one document"),
        (b"- a\n- b\n", "1:1: A search space needs sections such as `architecture:`"),
        (b"", "A search space needs sections such as `architecture:`"),
        (b"a: &x [*x]", "1:8: A search space needs an alias of what is complete: got alias='x'. Write the value out."),
        (b"a: *x", "1:4: A search space needs an alias of a known anchor: got alias='x'. Write the value out."),
        (b"data: " + b"[" * 5000, "1:38: A search space needs at most 32 levels: got level=33. Nest it less."),
        (b"1: 2\ndata: shapes\narchitecture: {backbone: timm}", "1:1: A mapping needs names as keys: got key=1."),
        (b"? [a]\n: 2\ndata: shapes\narchitecture: {backbone: timm}", "1:3: A mapping needs names as keys"),
        (b"budget: {macs: " + b"9" * 5000 + b"}", "1:16: A number needs at most 18 digits: got digits=5000."),
        (b"name: \"a\\u0007\"", "1:7: A value needs text of one line without control characters: got character='U+0007'."),
        (b"x" * 300_000, "A search space needs at most 262144 bytes: got bytes='more'. Is this the right file?"),
    ],
)  # fmt: skip
def test_what_is_no_space_at_all(content: bytes, expected: str, tmp_path: Path) -> None:
    assert any(expected in line for line in mistakes(content, tmp_path))


def test_exploding_aliases_are_refused_soon() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [" + ", ".join([f"*a{i - 1}"] * 10) + "]" for i in range(1, 10)]
    with pytest.raises(SpaceError, match="at most 20000 values"):
        Space.loads("\n".join(lines))


def test_modest_aliases_are_fine() -> None:
    assert Space.loads(HEAD + "  context: {choice: &all [none, psa]}\n  refine: {choice: *all}").count() == 4


@pytest.mark.parametrize("name", ["quikstart", "nowhere/at/all.yaml", "x" * 5000, "", "/", "/dev/null"])
def test_a_file_that_is_not_there(name: str) -> None:
    with pytest.raises(SpaceError) as caught:
        Space.load(name)
    assert "needs the name of a shipped space, or a file that exists" in str(caught.value)
    if name == "quikstart":
        assert "Did you mean 'quickstart'?" in str(caught.value)
