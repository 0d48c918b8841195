"""From a bundle to predictions: manifest, predictor, explanations, intervals. Loads no pickle."""
