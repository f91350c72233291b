"""One of two processes that train together; test_distributed.py starts them by torchrun.

python -m tests.training.two_processes DIRECTORY: first "ddp", which is what torchrun gives, then
"fsdp", FSDP2 as `accelerate launch --use_fsdp --fsdp_version 2` asks for it.
"""

import json
import os
import runpy
import shutil
import sys
from pathlib import Path

import torch
from accelerate.state import PartialState
from accelerate.utils import DistributedType
from torch import distributed


def let_accelerate_shard_on_the_cpu() -> None:
    """Accelerate asks for FSDP on accelerators alone; torch's FSDP2 runs on the CPU as well.

    So it is told that these are processes with a device each, and that the device is the CPU.
    """
    os.environ.update(
        ACCELERATE_TORCH_DEVICE="cpu",
        ACCELERATE_USE_FSDP="true",
        FSDP_VERSION="2",
        FSDP_AUTO_WRAP_POLICY="TRANSFORMER_BASED_WRAP",
        FSDP_TRANSFORMER_CLS_TO_WRAP="LlamaDecoderLayer",
        FSDP_STATE_DICT_TYPE="SHARDED_STATE_DICT",
        FSDP_RESHARD_AFTER_FORWARD="true",
    )
    PartialState._prepare_backend = lambda *_, **__: ("gloo", DistributedType.MULTI_GPU)


def run_the_command(arguments: list[str]) -> None:
    """What `torchrun -m rewardd ARGUMENTS` runs."""
    sys.argv = ["rewardd", *arguments]
    try:
        runpy.run_module("rewardd", run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise


def train_and_resume(directory: Path, way: str) -> None:
    """Train; then again from the resumable checkpoint before the last."""
    arguments = json.loads((directory / "arguments.json").read_text())
    output, run = directory / way, directory / f"{way}.run"
    run_the_command([*arguments, "--output", str(output)])
    if distributed.get_rank() == 0:
        output.rename(directory / f"{way}-whole")
        shutil.copytree(run, directory / f"{way}-whole.run")
        newest = max(run.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
        shutil.rmtree(newest)
    distributed.barrier()
    run_the_command([*arguments, "--output", str(output), "--resume"])


def main() -> None:
    torch.set_num_threads(1)
    directory = Path(sys.argv[1])
    train_and_resume(directory, "ddp")
    let_accelerate_shard_on_the_cpu()
    train_and_resume(directory, "fsdp")
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
