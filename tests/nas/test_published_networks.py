"""The networks of the literature come out at their published size."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nas import Space
from nas.report import gallery
from nas.space.published import COUNTED

REFERENCE = Path(__file__).parents[2] / "../shared/reference/published.json"
NETWORKS = gallery.folder("published")
EXPECTED = [
    "fcn_hr18",
    "fcn_hr48",
    "pspnet_r50",
    "psanet_r50",
    "deeplabv3_r50",
    "deeplabv3plus_r50",
    "upernet_r50",
    "semantic_fpn_r50",
    "nonlocal_r50",
    "danet_r50",
    "ann_r50",
    "ccnet_r50",
    "dnlnet_r50",
    "isanet_r50",
    "ocnet_r50",
    "ocrnet_hr18",
    "ocrnet_hr48",
    "ocrnet_hr48_psa_p",
    "ocrnet_hr48_psa_s",
    "isnet_r50",
    "gald_r50",
    "dgcnet_r50",
    "icnet",
    "bisenet_r18",
    "bisenetv2",
    "stdc1_seg",
    "stdc2_seg",
    "dfanet",
    "hyperseg_m",
    "rgpnet",
    "segformer_b0",
    "segformer_b5",
    "segnext_t",
    "segnext_s",
    "segnext_b",
    "segnext_l",
    "upernet_swin_t",
    "cgrseg_t",
    "cgrseg_b",
    "cgrseg_l",
    "ocrnet_hr48_ssa",
    "upernet_swin_t_ssa",
    "segformer_b5_ssa",
    "segnext_t_ssa",
    "cgrseg_t_ssa",
    "cgrseg_b_ssa",
    "cgrseg_l_ssa",
]

# SSA's code builds the branches that see the ground truth as part of the network: parameters that inference never reads.
TAUGHT = {"CGRSeg-T+SSA": 65_792, "CGRSeg-B+SSA": 262_656}


def test_the_gallery_is_whole():
    assert {f"published/{name}" for name in EXPECTED} <= set(NETWORKS)


@pytest.mark.parametrize("name", NETWORKS)
def test_it_says_what_it_is_compared_with(name):
    space = Space.load(name)
    assert space.count() == 1
    assert space.published.measured or space.published.reported or space.published.differs
    assert name.endswith(f"/{space.name}")


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_it_costs_what_is_published_or_says_why_not(name):
    published, row = gallery.fixed(Space.load(name))
    strays = published.strays(**{figure: row[figure] for figure in COUNTED})
    told = [f"{s.figure}: {s.ours:.4g}, published {s.published:.4g} ({s.difference:+.2%}, {s.source})" for s in strays]
    # What was counted from public code is not to be explained away.
    assert not (strays and published.measured), told
    compared = any(True for _ in published.compared(**{figure: row[figure] for figure in COUNTED}))
    assert bool(published.differs) == bool(strays or not compared), told or published.differs


@pytest.mark.skipif(not REFERENCE.exists(), reason="the folder of reference facts does not lie beside the repository")
def test_every_network_that_was_counted_is_held_to_that_count():
    counted = {
        (entry["params"] - TAUGHT.get(entry["network"], 0), entry["gmacs_total"]): entry["network"]
        for entry in json.loads(REFERENCE.read_text())["measured_whole_models"]
    }
    files = [Space.load(name).published.measured for name in NETWORKS]
    ours = {(m.params, round(m.macs / 1e9, 2)) for m in files if m and m.params and m.macs}
    missing = [network for (params, macs), network in counted.items() if (params, round(macs, 2)) not in ours]
    assert missing == []


def test_the_page_of_the_gallery_names_every_network():
    page = (Path(__file__).parents[2] / "docs" / "published.md").read_text()
    assert [name for name in NETWORKS if f"| {name} |" not in page] == []
