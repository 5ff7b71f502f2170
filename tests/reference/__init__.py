"""The engine as plainly as it can be written, which judges the fast one."""
