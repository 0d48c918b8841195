"""Regions that a guided deploy offers: those that know every resource type of template.yaml (a test asks cfn-lint for each)."""

from __future__ import annotations

# CloudFormation refuses a template with a type that its region does not know, even under a condition that is false; what is missing
# elsewhere is AWS::SageMaker::MlflowApp.
REGIONS = (
    "ap-northeast-1", "ap-northeast-2", "ap-south-1", "ap-southeast-1", "ap-southeast-2", "ca-central-1", "eu-central-1", "eu-north-1",
    "eu-west-1", "eu-west-2", "eu-west-3", "sa-east-1", "us-east-1", "us-east-2", "us-west-1", "us-west-2",
)  # fmt: skip
