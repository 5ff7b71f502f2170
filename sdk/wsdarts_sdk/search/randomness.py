"""Random numbers that depend on where a search stands, not on how it got there.

Every draw comes from a stream named by its purpose and position (stage, epoch, step). A
resumed search therefore needs no stored generator state to go on exactly as it would have.
"""

import hashlib

import torch

Name = str | int


def seed_of(*name: Name) -> int:
    """A 63-bit seed for the stream of that name."""
    text = "/".join(str(part) for part in name)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def stream(*name: Name) -> torch.Generator:
    """A CPU generator at the start of the stream of that name."""
    return torch.Generator().manual_seed(seed_of(*name))
