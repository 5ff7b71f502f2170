"""Random and mutated inputs for everything that reads what strangers wrote: `make fuzz`."""
