"""From a bundle on S3 to an answer: manifest, bundle, predictor, request formats, warnings. Loads no pickle."""
