"""What is compared, with which flags of train.py, and for how long."""

from benchmarks.job import Job

MANY = ["--trainer.steps_per_execution", "auto"]
HALF = ["--trainer.precision", "bf16-mixed"]
WHOLE = ["--trainer.compile", "true"]
ACCELERATED = {  # flags of train.py: one graph for tiny nets, half precision where there are large products
    "linear": [*MANY, *WHOLE], "ring": [*MANY, *WHOLE], "mnist": [*MANY, *HALF], "reuters": [*MANY, *HALF],
}  # fmt: skip
OURS, FLOOR = "ours", "floor"
FLOORS = (FLOOR, "floor_kept")
LOOPS = {  # contender -> the module of its loop
    OURS: "benchmarks.ours",
    "accelerated": "benchmarks.ours",
    "lightning": "benchmarks.plain_lightning",
    "hand": "benchmarks.hand_loop",
    FLOOR: "benchmarks.floor",
    "floor_kept": "benchmarks.floor_kept",
}
PEERS = {  # another library -> the module of its loop
    "skorch": "benchmarks.peer_skorch",
    "torchkeras": "benchmarks.peer_torchkeras",
    "keras": "benchmarks.peer_keras",
}
NEEDED = {"skorch": ["skorch"], "torchkeras": ["torchkeras"], "keras": ["keras", "jax"]}  # to be installed
NAMES = {
    OURS: "ours, default",
    "accelerated": "ours, accelerated",
    "lightning": "plain Lightning",
    "hand": "hand-written DataLoader loop",
    FLOOR: "floor",
    "floor_kept": "floor, freed buffers kept",
}
FEATURES = {  # what is left out -> the flags that do
    "everything on": [],
    "without TensorBoard": ["--trainer.logger", "false"],
    "without checkpoints": ["--trainer.enable_checkpointing", "false"],
    "without pictures": ["--trainer.figures", "false"],
    "without table and progress line": ["--quiet"],
}
EPOCHS = {"linear": 20, "ring": 20, "mnist": 1, "reuters": 2}  # of a round, besides one to warm up
JOB_EPOCHS = {"linear": 20, "ring": 20, "mnist": 2, "reuters": 3}  # of a whole job


def module_of(contender: str) -> str:
    """The module of its loop."""
    return {**LOOPS, **PEERS}[contender]


def job(contender: str, task: str, data_dir: str, gpus: int, tensors: str) -> Job:
    """What the contender's worker is told; ``tensors`` is the task's file for loops that take one."""
    flags = tuple(ACCELERATED[task]) if contender == "accelerated" else ()
    module = module_of(contender)
    return Job(task, module, data_dir, gpus, flags, "" if module == LOOPS[OURS] else tensors)
