"""The data quality and drift report: JSON, HTML, charts."""
