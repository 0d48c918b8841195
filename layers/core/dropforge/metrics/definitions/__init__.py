"""One file a metric, named as the metric in settings.yaml: a Metric under the name METRIC, with its statistic.

numpy is imported inside the statistic (see dropforge.metrics). Another distribution adds a metric by an entry point in the group
`dropforge.metrics`, which points at its Metric; a project names a function of its own instead (docs/how-to/extend.md).
"""
