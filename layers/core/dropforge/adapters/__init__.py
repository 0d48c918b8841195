"""The world behind the ports: S3, SQS, Step Functions, MLflow; and fakes in memory."""
