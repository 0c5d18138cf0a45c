"""One small file a kind, or a few kinds that belong together; `all_strategies` is the list."""
