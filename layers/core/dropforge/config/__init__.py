"""settings.yaml: its model, its store in the bucket, its mistakes by line, the prices behind cost estimates."""
