"""The scheduler: a queue of pods, a picture of the nodes as arrays, one decision at a time, bindings in batches."""
