"""Differentiable architecture search: settings, gradients, stages, derivation."""
