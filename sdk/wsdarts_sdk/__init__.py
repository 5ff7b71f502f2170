"""Transfer Architecture Search with torch: tasks, Task2Vec, supernet, warm start, training."""
