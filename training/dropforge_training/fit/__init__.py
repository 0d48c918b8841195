"""Last fit, out-of-fold predictions, calibration, threshold, intervals."""
