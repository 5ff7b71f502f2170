"""A registry in a namespace on the Hugging Face Hub. Nothing of it loads before it is opened."""
