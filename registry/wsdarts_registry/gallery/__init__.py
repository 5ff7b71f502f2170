"""The gallery: a registry as a static site that works from a disk, without a server."""
