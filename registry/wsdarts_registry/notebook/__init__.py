"""What objects look like in a notebook: HTML that is complete in itself and acts on nothing."""
