"""Names of the files of a run."""

CONFIG = "config.json"
CHECKPOINT_SUFFIX = ".checkpoint.safetensors"
