"""Queue worker, training jobs and tuning jobs."""
