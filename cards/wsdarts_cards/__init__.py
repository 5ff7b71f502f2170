"""Templates of model cards and pages, as package data. Imports nothing."""
