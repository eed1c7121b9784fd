"""What is compared, with which flags of train.py, and for how long."""

from benchmarks.job import Job

WHOLE = ["--trainer.compile", "true"]
GRAPH = [*WHOLE, "--trainer.steps_per_execution", "9"]  # three times nine steps an epoch, and the last one
HALF = ["--trainer.steps_per_execution", "auto", "--trainer.precision", "bf16-mixed"]
ACCELERATED = {  # flags of train.py: graphs for tiny nets, half precision where there are large products
    "linear": GRAPH, "ring": GRAPH, "mnist": HALF, "reuters": HALF,
}  # fmt: skip
ACCELERATED_ON_GPU = {"linear": GRAPH, "ring": GRAPH, "mnist": [*WHOLE, *HALF], "reuters": [*WHOLE, *HALF]}
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
# of a round, besides one to warm up; so many tiny ones that the slower twenty after compiling weigh little
EPOCHS = {"linear": 100, "ring": 100, "mnist": 1, "reuters": 2}
TIMES = {"reuters": 2}  # measured for each round that is asked for: two epochs are short beside the noise
JOB_EPOCHS = {"linear": 20, "ring": 20, "mnist": 2, "reuters": 3}  # of a whole job
SCALES = {"linear": (1, 10, 100), "ring": (1, 10, 100), "mnist": (1, 2), "reuters": (1, 4)}  # times the rows
SCALE_EPOCHS = 2
TWO = ("--trainer.accelerator", "cpu", "--trainer.devices", "2")  # processes


def module_of(contender: str) -> str:
    """The module of its loop."""
    return {**LOOPS, **PEERS}[contender]


def job(contender: str, task: str, data_dir: str, gpus: int, tensors: str) -> Job:
    """What the contender's worker is told; ``tensors`` is the task's file for loops that take one."""
    faster = ACCELERATED_ON_GPU if gpus else ACCELERATED
    flags = tuple(faster[task]) if contender == "accelerated" else ()
    module = module_of(contender)
    return Job(task, module, data_dir, gpus, flags, "" if module == LOOPS[OURS] else tensors)
