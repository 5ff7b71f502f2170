"""Work that is killed at random instants, and has to end as if it had not been."""
