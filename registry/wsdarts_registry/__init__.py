"""The zoo without torch: search space, artifacts, registries and nearest search."""
