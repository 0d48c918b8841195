"""Study journal on S3, budgets, search-space description."""
