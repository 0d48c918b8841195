"""Hyperparameter search: space, study, tuner, folds."""
