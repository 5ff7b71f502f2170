"""Registries under the use of many processes for long."""
