"""Between searches and artifacts: what a search publishes, what a warm start takes over."""
