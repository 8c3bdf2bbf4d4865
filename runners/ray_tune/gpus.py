"""How much memory the GPUs of a cluster have."""

from __future__ import annotations

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from blocks.errors import RunError, law
from runners.packing import SHARES
from runners.protocol import Work


def gpu_bytes(work: Work) -> float:
    """The memory of the smallest GPU, as `resources.gpu_bytes` says or each node with one tells. [bytes]

    Raises:
        RunError: some node has GPUs that CUDA does not know.
    """
    if work.gpu_bytes is not None:
        return work.gpu_bytes
    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("GPU")]
    asked = [
        _total.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote()
        for node in nodes
    ]
    found: list[int | None] = ray.get(asked)
    if any(total is None for total in found):
        got = {"nodes": [n["NodeManagerAddress"] for n, total in zip(nodes, found, strict=True) if total is None]}
        remedy = "Write the memory of each as resources.gpu_bytes, or a number of GPUs per trial"
        raise RunError(law("resources.gpu: auto", "CUDA GPUs, whose memory can be asked for", got, remedy))
    return float(min(total for total in found if total is not None))


@ray.remote(num_cpus=0, num_gpus=SHARES[-1], max_retries=1)  # type: ignore[untyped-decorator]  # ray has no types
def _total() -> int | None:
    import torch

    if not torch.cuda.is_available():
        return None
    return min(torch.cuda.get_device_properties(n).total_memory for n in range(torch.cuda.device_count()))
